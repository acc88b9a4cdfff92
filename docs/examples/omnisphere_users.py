"""OmniSphere: `old_users` become `users`, in batches that a kill neither doubles nor loses.

Names and mail addresses are put in order, states become true or false, times without a zone were written in Paris.
"""

from datetime import timezone
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

ENGINE = "postgresql"
TABLE = "old_users"
KEY = ("id",)
WRITES = {"users": ("id",)}

# The identifier comes from the row: the same row gives the same one, whenever it is asked.
SPACE = UUID("5b0d6f4e-6a3e-4a0b-9d5c-0f1d6a1c2b11")
PARIS = ZoneInfo("Europe/Paris")
STATES = {"active": True, "inactive": False, "banned": False}


def select():
    return "SELECT id, email, first_name, last_name, status, created_at FROM old_users"


def transform(row):
    email = row["email"].strip().lower()
    if "@" not in email:
        raise ValueError("no mail address")
    return {
        "id": uuid5(SPACE, str(row["id"])),
        "legacy_id": row["id"],
        "email": email,
        "full_name": f"{row['first_name'].strip()} {row['last_name'].strip()}",
        "active": STATES[row["status"]],
        "created_at": row["created_at"].replace(tzinfo=PARIS).astimezone(timezone.utc),
    }


def write(store, made):
    store.insert("users", made)


def validate(store):
    missing = store.query(
        "SELECT count(*) AS rows FROM old_users o WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.legacy_id = o.id)"
    )
    twice = store.query(
        "SELECT count(*) AS rows FROM (SELECT 1 FROM users GROUP BY lower(email) HAVING count(*) > 1) AS twice"
    )
    wrong = [f"{missing[0]['rows']} old users are missing"] if missing[0]["rows"] else []
    return wrong + ([f"{twice[0]['rows']} mail addresses stand twice"] if twice[0]["rows"] else [])


def undo(store, rows):
    left = []
    for one in rows:
        row = one.row
        if row["legacy_id"] is None:
            # It was born in the new table: the old one has no number for it.
            left.append(one)
            continue
        first, _, last = row["full_name"].partition(" ")
        (old,) = store.query("SELECT status FROM old_users WHERE id = %s", [row["legacy_id"]]) or [{"status": "active"}]
        same = STATES[old["status"]] == row["active"]
        store.put(
            "old_users",
            [
                {
                    "id": row["legacy_id"],
                    "email": row["email"],
                    "first_name": first,
                    "last_name": last,
                    "status": old["status"] if same else ("active" if row["active"] else "inactive"),
                    "created_at": row["created_at"].astimezone(PARIS).replace(tzinfo=None),
                }
            ],
        )
    return left
