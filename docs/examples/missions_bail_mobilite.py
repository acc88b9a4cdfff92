"""Ops: an entry mission and the exit mission of the same flat become one "Bail Mobilité", with its checklists.

A guest's stay is an entry mission and the exit mission that follows at the same address for the same tenant. The
conversion keeps both missions, writes the stay, and one checklist for each mission that has one.
On MariaDB it is the same file with ENGINE = "mariadb".
"""

import json
from datetime import date

ENGINE = "sqlite"
TABLE = "missions"
KEY = ("id",)
WRITES = {"bail_mobilites": ("id",), "checklists_bm": ("id",)}

STATES = {"planned": "assigned", "in_progress": "in_progress", "done": "completed", "cancelled": "incident"}


def select():
    # The stay of an entry ends with the first exit after it; one without an exit is still open.
    return """
        SELECT e.id, e.address, e.tenant_name, e.tenant_email, e.tenant_phone, e.scheduled_on AS starts_on, e.status,
               e.agent_id AS entry_agent, e.checklist AS entry_checklist, s.id AS exit_id, s.scheduled_on AS ends_on,
               s.status AS exit_status, s.agent_id AS exit_agent, s.checklist AS exit_checklist
        FROM missions e LEFT JOIN missions s ON s.id = (
            SELECT o.id FROM missions o WHERE o.type = 'exit' AND o.address = e.address
            AND o.tenant_name = e.tenant_name AND o.scheduled_on >= e.scheduled_on
            ORDER BY o.scheduled_on, o.id LIMIT 1)
        WHERE e.type = 'entry'"""


def day(value):
    """Return a day: SQLite keeps it as text, MariaDB as a date."""
    return value if isinstance(value, date) else date.fromisoformat(value)


def transform(row):
    starts = day(row["starts_on"])
    ends = day(row["ends_on"]) if row["ends_on"] else None
    if ends and (ends - starts).days > 305:
        raise ValueError("a bail mobilité lasts ten months at most")
    done = row["status"] == "done" and row["exit_status"] == "done"
    stay = {
        "id": row["id"],
        "address": row["address"].strip(),
        "tenant_name": row["tenant_name"].strip(),
        "tenant_email": (row["tenant_email"] or "").strip().lower() or None,
        "tenant_phone": row["tenant_phone"],
        "start_date": starts.isoformat(),
        "end_date": ends.isoformat() if ends else None,
        "status": "completed" if done else STATES["in_progress" if row["status"] == "done" else row["status"]],
        "entry_mission_id": row["id"],
        "exit_mission_id": row["exit_id"],
    }
    checklists = []
    for kind, mission in (("entry", row["id"]), ("exit", row["exit_id"])):
        if row[f"{kind}_checklist"]:
            items = json.loads(row[f"{kind}_checklist"])
            checklists.append(
                {"id": mission, "bail_mobilite_id": row["id"], "kind": kind, "items": json.dumps(items, sort_keys=True)}
            )
    return stay, checklists


def write(store, made):
    store.insert("bail_mobilites", [stay for stay, _ in made])
    store.insert("checklists_bm", [one for _, checklists in made for one in checklists])


def validate(store):
    questions = {
        "entry missions have no bail mobilité": """SELECT count(*) AS n FROM missions m WHERE m.type = 'entry'
            AND NOT EXISTS (SELECT 1 FROM bail_mobilites b WHERE b.entry_mission_id = m.id)""",
        "bail mobilités end before they begin": """SELECT count(*) AS n FROM bail_mobilites
            WHERE end_date < start_date""",
        "checklists belong to no bail mobilité": """SELECT count(*) AS n FROM checklists_bm c
            LEFT JOIN bail_mobilites b ON b.id = c.bail_mobilite_id WHERE b.id IS NULL""",
        "exit missions stand in two bail mobilités": """SELECT count(*) AS n FROM (SELECT 1 FROM bail_mobilites
            WHERE exit_mission_id IS NOT NULL GROUP BY exit_mission_id HAVING count(*) > 1) AS twice""",
    }
    counted = {what: store.query(question)[0]["n"] for what, question in questions.items()}
    return [f"{number} {what}" for what, number in counted.items() if number]


def undo(store, rows):
    back = {"assigned": "planned", "in_progress": "in_progress", "completed": "done", "incident": "cancelled"}
    left = []
    for one in rows:
        row = one.row
        if one.table != "bail_mobilites" or one.kind == "new":
            # A stay that was born as one has no missions to go back to; nor has a checklist of its own.
            left.append(one)
            continue
        tenant = {name: row[name] for name in ("address", "tenant_name", "tenant_email", "tenant_phone")}
        entry = {"id": row["entry_mission_id"], "scheduled_on": row["start_date"], "status": back[row["status"]]}
        store.put("missions", [{**entry, **tenant}])
        if row["exit_mission_id"] is not None:
            store.put("missions", [{"id": row["exit_mission_id"], "scheduled_on": row["end_date"], **tenant}])
    return left
