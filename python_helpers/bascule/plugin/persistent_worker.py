"""A process that executes tasks of a play one after the other, in place of one process per task.

Ansible's own worker is forked with everything in its memory and ends with its task. This one is forked for its first
task just so, and stays. With each further task it is told what has changed since: the facts that were set, and which
hosts are out of the play. Its variables are computed from these here, as the controller computes them there.
"""

from __future__ import annotations

import copy
import gc
import io
import pickle
import signal
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from types import MappingProxyType, SimpleNamespace
from typing import Any, NamedTuple, Optional

from ansible._internal import _task
from ansible._internal._errors import _error_utils
from ansible.errors import AnsibleError
from ansible.executor.process import worker
from ansible.executor.process.worker import WorkerProcess
from ansible.executor.task_executor import TaskExecutor
from ansible.executor.task_result import _RawTaskResult
from ansible.inventory.host import Host
from ansible.playbook.block import Block
from ansible.playbook.play import Play
from ansible.playbook.role import Role
from ansible.playbook.role.metadata import RoleMetadata
from ansible.utils.display import Display
from ansible.utils.multiprocessing import context as multiprocessing_context

_NO_TASK = SimpleNamespace(_uuid=None)
_HOST = "host"
_KNOWN = "known"
# What a task refers to and no execution looks at: the tasks beside it, those of its role, and the files they stand in.
_LEFT_OUT: dict[type, dict[str, Any]] = {
    Block: {"_block": [], "_rescue": [], "_always": [], "_ds": None},
    Role: {"_task_blocks": [], "_handler_blocks": [], "_ds": None},
    RoleMetadata: {"_ds": None},
}


class Order(NamedTuple):
    """What a worker is given with a task: the task itself as bytes."""

    # Facts that were set since the order before, each as bytes.
    changes: list[bytes]
    host: str
    # Roles, blocks and includes that the worker has not met before, each as bytes, in the order of their numbers.
    new: list[bytes]
    task: bytes
    # Roles that the play has included since then, each as bytes.
    roles: list[bytes]
    removed: list[str]
    failed: list[str]
    unreachable: list[str]


class TaskCodec:
    """Turns tasks into bytes and back, at both ends of a fork: what both have in memory is only named.

    Both have what was there at the fork (`shared`), and what has been carried over since. Roles, blocks and includes
    stand above many tasks and do not change once they are loaded: they are carried once.
    """

    def __init__(self, shared: Iterable[Any], hosts: Callable[[str], Host]) -> None:
        self._shared = list(shared)
        self._names: dict[int, Any] = {id(one): number for number, one in enumerate(self._shared)}
        self._hosts = hosts
        # In the order of their numbers. Whoever gives keeps them, so that no other object gets the place in memory.
        self._known: list[Any] = []

    def fresh(self) -> TaskCodec:
        """Return one for another worker, which has met nothing yet."""
        return TaskCodec(self._shared, self._hosts)

    def introduce(self, task: Any) -> list[bytes]:
        """Return what stands above a task, and its roles, as far as the other end has not met it: the outermost first.

        Raises:
            pickle.PicklingError, TypeError, AttributeError: one holds something that only a fork can hand over.
        """
        above, one = [], task._parent
        while one is not None and id(one) not in self._names:
            above.append(one)
            one = one._parent
        above.reverse()
        roles = [role for one in (*above, task) for role in (one._role, *(getattr(one, "_dep_chain", None) or []))]
        new = []
        for one in (*roles, *above):
            if one is not None and id(one) not in self._names:
                new.append(self.dump(one))
                self._names[id(one)] = (_KNOWN, len(self._known))
                self._known.append(one)
        return new

    def meet(self, new: Iterable[bytes]) -> None:
        """Take what was introduced, at the other end."""
        for content in new:
            self._known.append(self.load(content))

    def dump_role(self, role: Role) -> bytes:
        """Return a role that the play has included, for all workers.

        Of one that is not public other tasks see the name alone, and its own tasks bring it with them.
        """
        if not role.public:
            role = copy.copy(role)
            vars(role).update(_default_vars={}, _role_vars={})
        return self.dump(role)

    def dump(self, task: Any) -> bytes:
        """Return a task, or a role, with all that it inherits from, but without the tasks beside it.

        Raises:
            pickle.PicklingError, TypeError, AttributeError: it holds something that only a fork can hand over.
        """
        into = io.BytesIO()
        _Pickler(into, self._names).dump(task)
        return into.getvalue()

    def load(self, content: bytes) -> Any:
        """Return what was turned into bytes."""
        return _Unpickler(io.BytesIO(content), self._shared, self._known, self._hosts).load()


class _Pickler(pickle.Pickler):
    def __init__(self, into: io.BytesIO, names: dict[int, Any]) -> None:
        super().__init__(into, pickle.HIGHEST_PROTOCOL)
        self._names = names

    def persistent_id(self, value: Any) -> Any:
        name = self._names.get(id(value))
        if name is None and type(value) is Host:
            return _HOST, value.name
        return name

    def reducer_override(self, value: Any) -> Any:
        for kind, names in _LEFT_OUT.items():
            if isinstance(value, kind):
                state = {**value.__dict__, **names}
                return object.__new__, (type(value),), state
        if isinstance(value, MappingProxyType):
            return _read_only, (dict(value),)
        if isinstance(value, Play):
            raise pickle.PicklingError("a play that was loaded after the worker began")
        return NotImplemented


def _read_only(content: dict[Any, Any]) -> MappingProxyType[Any, Any]:
    # The type cannot be named in a pickle.
    return MappingProxyType(content)


class _Unpickler(pickle.Unpickler):
    def __init__(
        self, content: io.BytesIO, shared: Sequence[Any], known: Sequence[Any], hosts: Callable[[str], Host]
    ) -> None:
        super().__init__(content)
        self._shared = shared
        self._known = known
        self._hosts = hosts

    def persistent_load(self, name: Any) -> Any:
        if not isinstance(name, tuple):
            return self._shared[name]
        return self._hosts(name[1]) if name[0] == _HOST else self._known[name[1]]


def _undisturbed(put: Callable[[Any], None]) -> Callable[[Any], None]:
    """Let no signal end this process while it holds the lock of the queue, for which the controller would wait."""

    def putting(value: Any) -> None:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))
        try:
            put(value)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    return putting


class PersistentWorker(WorkerProcess):
    """A worker that stays until the controller ends it, or is gone."""

    def __init__(
        self, strategy: Any, codec: TaskCodec, task_play_context: Any, seen: tuple[int, int], **options: Any
    ) -> None:
        """Prepare a worker whose first task comes with the fork; `seen`: changes and roles that it begins with."""
        super().__init__(play_context=task_play_context, **options)
        self._strategy = strategy
        self._codec = codec.fresh()
        self._orders, self.giver = multiprocessing_context.Pipe(duplex=False)
        self._seen = seen
        self._ended = False
        # It goes on with no further task: what a failure has left in its memory would stay open.
        self.is_spent = False

    def start(self) -> None:
        """Fork."""
        super().start()
        self._orders.close()
        # The process has them; here they would only be kept.
        self._task_vars = {}

    def is_ready(self) -> bool:
        """Whether it can be given a task, once it has none."""
        return not self.is_spent and not self._ended and self.is_alive()

    def give(
        self, host: Host, task: Any, changes: Sequence[bytes], roles: Sequence[bytes], gone: tuple[list[str], ...]
    ) -> bool:
        """Hand over a task; False when it was not, and will not be executed."""
        seen, included = self._seen
        try:
            new = self._codec.introduce(task)
            order = Order(list(changes[seen:]), host.name, new, self._codec.dump(task), list(roles[included:]), *gone)
            self.giver.send_bytes(pickle.dumps(order, pickle.HIGHEST_PROTOCOL))
        except (pickle.PicklingError, TypeError, AttributeError, OSError) as error:
            Display().vvv(f"a process is forked for {task.get_name()}: {error}", host=host.name)
            return False
        self._seen = len(changes), len(roles)
        self._task = task
        return True

    def rest(self) -> None:
        """Note that its task has come to its end."""
        self._task = _NO_TASK

    def end(self) -> None:
        """Let it end as soon as it has no task."""
        if not self._ended:
            self._ended = True
            self.giver.close()

    def let_go(self) -> bool:
        """Give back what the controller holds of a process that has ended; False while it has not."""
        if self.is_alive():
            return False
        self.close()
        self.worker_queue.close()
        return True

    def _run(self) -> None:
        worker.current_worker = self
        # What was inherited stays: looking through it again and again would copy all of it.
        gc.freeze()
        for giver in self._strategy.givers():
            # Who holds another one's end would keep it alive when the controller is gone.
            giver.close()
        self._final_q.put = _undisturbed(self._final_q.put)
        self._execute(self._host, self._task, self._task_vars)
        del self._task_vars
        while (order := self._next()) is not None:
            self._follow(order)

    def _next(self) -> Optional[Order]:
        # What is unpickled comes from the process that forked this one, over a pipe that no other program has.
        try:
            content = self._orders.recv_bytes()
        except EOFError:
            return None
        return Order(*pickle.loads(content))

    def _follow(self, order: Order) -> None:
        for change in order.changes:
            name, values = pickle.loads(change)
            getattr(type(self._variable_manager), name)(self._variable_manager, *values)
        self._loader._tempfiles = set()
        self._host = self._variable_manager._inventory.get_host(order.host)
        self._codec.meet(order.new)
        self._task = self._codec.load(order.task)
        variables = self._strategy.variables(self._host, self._task, order, self._codec)
        with _task.TaskContext(self._task):
            self._execute(self._host, self._task, variables)

    def _execute(self, host: Host, task: Any, variables: dict[str, Any]) -> None:
        result = TaskExecutor(
            host,
            task,
            variables,
            self._play_context,
            self._loader,
            self._shared_loader_obj,
            self._final_q,
            self._variable_manager,
        ).run()
        self._warn_of_output()
        try:
            self._final_q.send_task_result(
                _RawTaskResult(host=host, task=task, return_data=result, task_fields=task.dump_attrs())
            )
        except Exception as error:
            try:
                raise AnsibleError("Task result omitted due to queue send failure.") from error
            except AnsibleError as wrapped:
                failure = _error_utils.result_dict_from_exception(wrapped)
            self._final_q.send_task_result(_RawTaskResult(host=host, task=task, return_data=failure, task_fields={}))

    def _warn_of_output(self) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if written := stream.getvalue():
                setattr(sys, name, io.StringIO())
                Display().warning(
                    f"WorkerProcess for [{self._host}/{self._task}] errantly sent data directly to {name} "
                    f"instead of using Display:\n{textwrap.indent(written[:256], '    ')}\n",
                    formatted=True,
                )
