"""The strategy of a window: Ansible's host_pinned, with processes that stay, and results that are handled at once."""

from __future__ import annotations

import pickle
import queue
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, Optional

from ansible import constants
from ansible import context as command_line
from ansible.executor.task_result import _RawTaskResult
from ansible.plugins import loader as plugin_loader
from ansible.plugins.strategy.host_pinned import StrategyModule as HostPinned
from ansible.release import __version__
from ansible.utils.display import Display

from .once import compiled_once, load_plugins
from .persistent_worker import Order, PersistentWorker, TaskCodec

# Of ansible-core: whose insides this rests on.
KNOWN = ("2.19.",)
# What changes the variables of a host: recorded here, and done again in each worker.
_SETTERS = ("set_host_facts", "set_nonpersistent_facts", "set_host_variable")
# These leave everything as it is but where a host stands in its play.
_HARMLESS_META = ("noop", "role_complete", "flush_handlers", "end_host", "end_role", "end_play", "end_batch")
# Seconds between two looks at processes that should be at work.
_LOOK = 0.5
# Seconds that a worker without a task may take to end.
_END = 2.0


class _Results(deque[_RawTaskResult]):
    """Results that have come and were not handled, and who is told of each."""

    def __init__(self, strategy: StrategyModule) -> None:
        super().__init__()
        self._strategy = strategy

    def append(self, result: _RawTaskResult) -> None:
        """Take a result; called by the thread that reads them."""
        self._strategy.arrived(result)
        super().append(result)
        self._strategy.wake()


class StrategyModule(HostPinned):
    """See plugins/strategy/bascule_window.py."""

    def __init__(self, tqm: Any) -> None:
        super().__init__(tqm)
        self._results = _Results(self)
        # A mark for each result that came. An interrupt leaves it usable, which it would not leave a lock.
        self._woken: queue.SimpleQueue[None] = queue.SimpleQueue()
        # Host → the place of the worker that has its task.
        self._at_work: dict[str, int] = {}
        # Host → the place of the worker that had its last task, which knows most of what stands above the next one.
        self._had: dict[str, int] = {}
        self._changes: list[bytes] = []
        # The roles that the play has included, as the workers are told of them.
        self._roles: list[bytes] = []
        self._ended: list[PersistentWorker] = []
        # Places whose process was gone when it was looked at last, and when that was.
        self._missed: set[int] = set()
        self._looked = time.monotonic()
        self._codec: Optional[TaskCodec] = None
        self._play: Any = None
        self._moved = False

    def run(self, iterator: Any, play_context: Any) -> Any:
        """Execute the play."""
        why = stays_not()
        if why:
            Display().vvv(f"bascule_window is host_pinned here: {why}")
            return super().run(iterator, play_context)
        self._play = iterator._play
        # Callbacks ask for it: what they are told comes in the order of that strategy.
        self._play.strategy = "host_pinned"
        plays = {id(play): play for play in (iterator._play, *(block._play for block in iterator._blocks))}
        shared = [self._loader, self._variable_manager, self._inventory, play_context, *plays.values()]
        self._codec = TaskCodec(shared, self._inventory.get_host)
        load_plugins()
        with self._recorded(), compiled_once():
            return super().run(iterator, play_context)

    def cleanup(self) -> None:
        """End the workers that have no task; Ansible ends the others."""
        until = time.monotonic() + _END
        busy = [self._workers[place] for place in list(self._at_work.values())]
        workers = self._persistent()
        for one in workers:
            one.end()
        for one in workers:
            if one not in busy:
                one.join(max(0.0, until - time.monotonic()))
        super().cleanup()

    def givers(self) -> list[Connection]:
        """Return the controller's ends of all workers, as a new one has inherited them."""
        return [one.giver for one in self._persistent()]

    def _persistent(self) -> list[PersistentWorker]:
        return [one for one in (*self._ended, *self._workers) if isinstance(one, PersistentWorker)]

    def variables(self, host: Any, task: Any, order: Order, codec: TaskCodec) -> dict[str, Any]:
        """Return a task's variables, in a worker."""
        self._play.roles += map(codec.load, order.roles)
        self._play._removed_hosts[:] = order.removed
        self._tqm._failed_hosts = dict.fromkeys(order.failed, True)
        self._tqm._unreachable_hosts = dict.fromkeys(order.unreachable, True)
        found: dict[str, Any] = self._variable_manager.get_vars(
            play=self._play, host=host, task=task, _hosts=self._hosts_cache, _hosts_all=self._hosts_cache_all
        )
        self.add_tqm_variables(found, play=self._play)
        return found

    def arrived(self, result: _RawTaskResult) -> None:
        """Note that a worker has no task any more."""
        place = self._at_work.pop(result.host.name, None)
        if place is None:
            return
        one = self._workers[place]
        one.is_spent = one.is_spent or result.is_failed() or result.is_unreachable()
        one.rest()

    def wake(self) -> None:
        """Let the play go on: something has come."""
        self._woken.put(None)

    def _execute_meta(self, task: Any, play_context: Any, iterator: Any, target_host: Any = None) -> Any:
        self._moved = True
        done = super()._execute_meta(task, play_context, iterator, target_host=target_host)
        if self._codec and task.args.get("_raw_params") not in _HARMLESS_META:
            self._renew()
        return done

    def _process_pending_results(self, iterator: Any, one_pass: bool = False, max_passes: Optional[int] = None) -> Any:
        if self._codec and not self._moved:
            self._await()
        self._moved = False
        results = super()._process_pending_results(iterator, one_pass=one_pass, max_passes=max_passes)
        if self._codec and any(_changes_inventory(one._return_data) for one in results):
            self._renew()
        return results

    def _await(self) -> None:
        """Wait until there is a result to handle; a worker that is gone gives its own."""
        while self._pending_results and not self._results and not self._tqm._terminated:
            self._sleep()

    def _sleep(self) -> None:
        """Wait until something has come; now and then look for dead workers."""
        with suppress(queue.Empty):
            self._woken.get(timeout=_LOOK)
        if time.monotonic() - self._looked >= _LOOK:
            self._fail_dead()
            self._looked = time.monotonic()

    def _queue_task(self, host: Any, task: Any, task_vars: Any, play_context: Any) -> None:
        if not self._codec:
            super()._queue_task(host, task, task_vars, play_context)
            return
        place = self._free_place(self._had.get(host.name))
        key = (host.name, task._uuid)
        self._queued_task_cache[key] = {
            "host": host,
            "task": task,
            "task_vars": task_vars,
            "play_context": play_context,
        }
        self._tqm.send_callback("v2_runner_on_start", host, task)
        self._at_work[host.name] = self._had[host.name] = place
        self._pending_results += 1
        gone = (list(self._play._removed_hosts), list(self._tqm._failed_hosts), list(self._tqm._unreachable_hosts))
        self._note_roles()
        one = self._workers[place]
        if one is not None and one.is_ready() and one.give(host, task, self._changes, self._roles, gone):
            return
        self._forget(place)
        self._workers[place] = one = PersistentWorker(
            self,
            self._codec,
            play_context,
            (len(self._changes), len(self._roles)),
            final_q=self._final_q,
            task_vars=task_vars,
            host=host,
            task=task,
            loader=self._loader,
            variable_manager=self._variable_manager,
            shared_loader_obj=plugin_loader.get_plugin_loader_namespace(),
            worker_id=place,
            cliargs=command_line.CLIARGS,
        )
        one.start()

    def _note_roles(self) -> None:
        """Put down which roles were included since the last task."""
        for role in self._play.roles[len(self._roles) :]:
            try:
                self._roles.append(self._codec.dump_role(role) if self._codec else b"")
            except (pickle.PicklingError, TypeError, AttributeError):
                self._roles.append(b"")
                self._renew()

    def _free_place(self, last: Optional[int]) -> int:
        while True:
            if last is not None and last not in self._at_work.values():
                one = self._workers[last]
                if one is not None and one.is_ready():
                    return last
            free = sorted(set(range(len(self._workers))) - set(self._at_work.values()))
            for place in free:
                one = self._workers[place]
                if one is not None and one.is_ready():
                    return place
            if free:
                return free[0]
            self._sleep()

    def _forget(self, place: int) -> None:
        one = self._workers[place]
        if one is None:
            return
        one.end()
        self._ended.append(one)
        self._workers[place] = None
        # A play in which much fails and is ignored would otherwise run out of descriptors.
        self._ended = [one for one in self._ended if not one.let_go()]

    def _renew(self) -> None:
        """Let every worker end with its task: it does not know what has changed."""
        for one in self._workers:
            if one is not None:
                one.is_spent = True

    def _fail_dead(self) -> None:
        """Give a failure for a task whose process is gone: nobody else would say that it came to no end."""
        if not self._final_q.empty():
            return
        at_work = list(self._at_work.items())
        dead = {place for _, place in at_work if not self._workers[place].is_alive()}
        # What one has sent before it ended may still be on its way: it is looked at twice.
        for host, place in at_work:
            if place in dead & self._missed:
                self._fail(host, self._workers[place])
                self._forget(place)
        self._missed = dead

    def _fail(self, host: str, one: PersistentWorker) -> None:
        (queued,) = (entry for (name, _), entry in self._queued_task_cache.items() if name == host)
        task = queued["task"].copy(exclude_parent=True, exclude_tasks=True)
        task._parent = queued["task"]._parent
        # Nobody has computed these; what came to no end is ignored by nobody.
        task.ignore_errors = task.run_once = False
        message = (
            f"The process that executed the task has ended without a result (status {one.exitcode}). "
            "What the task has done is not known: ansible-playbook playbooks/status.yml reads both sides "
            "and says what comes next."
        )
        self._results.append(
            _RawTaskResult(
                host=queued["host"],
                task=task,
                return_data={"failed": True, "changed": False, "msg": message},
                task_fields=task.dump_attrs(),
            )
        )

    @contextmanager
    def _recorded(self) -> Iterator[None]:
        """Record each change of a variable, for the workers."""
        manager = self._variable_manager

        def recording(name: str) -> Any:
            setter = getattr(manager, name)

            def record(*values: Any) -> None:
                try:
                    self._changes.append(pickle.dumps((name, values), pickle.HIGHEST_PROTOCOL))
                except (pickle.PicklingError, TypeError, AttributeError):
                    self._renew()
                setter(*values)

            return record

        for name in _SETTERS:
            setattr(manager, name, recording(name))
        try:
            yield
        finally:
            for name in _SETTERS:
                delattr(manager, name)


def stays_not() -> str:
    """Return why no worker can stay; nothing where it can."""
    if not __version__.startswith(KNOWN):
        return f"ansible-core {__version__} is not {' or '.join(KNOWN)}x"
    if constants.CACHE_PLUGIN not in ("memory", "ansible.builtin.memory"):
        return f"facts are kept by the cache {constants.CACHE_PLUGIN}"
    return ""


def _changes_inventory(data: Any) -> bool:
    found = [data, *(data.get("results") or [])]
    return any("add_group" in one for one in found if isinstance(one, dict))
