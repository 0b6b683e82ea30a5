"""The Ray executor: trials as Ray Core tasks, on this machine or on a cluster.

Ray starts the processes, finds them room and restarts nothing: a lost worker is reported to the driver, which
counts and retries as with any executor. A user's ``FILE.py`` must lie at the same path on every machine; its
hash is checked there.
"""

from typing import Any

from accelerando.compare.cores import cores
from accelerando.compare.executor import Job, Result
from accelerando.compare.worker import execute
from accelerando.errors import BackendUnavailable, TaskError

STORE_BYTES = 100 << 20
"""Ray's object store when this process starts Ray: results are small texts."""


class Ray:
    """Ray Core tasks.

    Args:
        workers: Trials at a time; None takes the cluster's cores, or its accelerators' room.
        accelerators: How many accelerators this machine sees; above 0 every trial asks for a share.
        per_accelerator: How many trials share one.

    Raises:
        BackendUnavailable: Ray is not installed.
    """

    def __init__(self, workers: int | None, accelerators: int, per_accelerator: int) -> None:
        try:
            import ray
        except ModuleNotFoundError as error:
            raise BackendUnavailable(
                "executor ray: Ray is not installed; pip install 'accelerando[ray]', or take --executor local"
            ) from error
        self._ray = ray
        self._started = not ray.is_initialized()
        if self._started:
            _connect(ray, workers)
        room = ray.cluster_resources()
        share = 1 / per_accelerator if accelerators else 0
        found = int(room.get("GPU", 0) * per_accelerator if accelerators else room.get("CPU", 1))
        self.slots = workers or max(1, found)
        self._task = ray.remote(num_cpus=1, num_gpus=share, max_retries=0)(_execute)
        self._running: dict[Any, str] = {}

    def submit(self, job: Job) -> None:
        """Hand a job to Ray."""
        self._running[self._task.remote(job.trial, job.task)] = job.id

    def wait(self, seconds: float) -> list[Result]:
        """What has finished, waiting for at least one result but no longer than ``seconds``."""
        finished, _ = self._ray.wait(list(self._running), num_returns=1, timeout=seconds)
        return [self._result(reference) for reference in finished]

    def close(self) -> None:
        """Cancel what is running; stop Ray if this executor started it."""
        for reference in self._running:
            self._ray.cancel(reference, force=True)
        if self._started:
            self._ray.shutdown()

    def _result(self, reference: Any) -> Result:
        job = self._running.pop(reference)
        try:
            answer = self._ray.get(reference)
        except (
            self._ray.exceptions.RayError
        ) as error:  # a worker or its node died; what the trial raises is data
            return Result(job, None, f"the Ray worker died ({type(error).__name__})")
        return Result(job, answer["outcome"], stop=answer["stop"])


def _connect(ray: Any, workers: int | None) -> None:
    """Join the cluster that RAY_ADDRESS or a running ``ray start`` names, else start Ray on this machine."""
    quiet = {"log_to_driver": False, "logging_level": "ERROR", "configure_logging": True}
    try:
        ray.init(address="auto", **quiet)
    except ConnectionError:
        ray.init(
            num_cpus=workers or cores(), object_store_memory=STORE_BYTES, include_dashboard=False, **quiet
        )


def _execute(trial: dict[str, Any], task: str) -> dict[str, Any]:
    try:
        return {"outcome": execute(trial, task), "stop": ""}
    except TaskError as error:
        return {"outcome": None, "stop": str(error)}
