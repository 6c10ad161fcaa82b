"""GPUs in boxes: what is refused without one, and what would be bound with some."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import missing

from aigym_kernel.errors import SandboxError
from aigym_kernel.sandboxes import Limits, check, gpus
from aigym_kernel.sandboxes.bwrap import BwrapSandbox
from aigym_kernel.sandboxes.containers import DockerSandbox

HAVE_GPU = Path("/dev/nvidia0").exists()


@pytest.mark.parametrize("value", ["some", [], ["0"], [-1], [True], 1])
def test_what_names_no_gpu(value: object) -> None:
    for sandbox in (BwrapSandbox, DockerSandbox):
        with pytest.raises(SandboxError, match="give 'all', a list of GPU numbers such as \\[0\\], or None"):
            sandbox(gpus=value)  # type: ignore[arg-type]


def test_devices_are_those_asked_for(tmp_path: Path) -> None:
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidiactl", "nvidia-uvm", "nvidia-caps", "null"):
        (tmp_path / name).touch()
    shared = [f"{tmp_path}/nvidiactl", f"{tmp_path}/nvidia-uvm"]
    assert gpus.devices("all", tmp_path) == [*(f"{tmp_path}/nvidia{n}" for n in (0, 1, 10)), *shared]
    assert gpus.devices([1], tmp_path) == [f"{tmp_path}/nvidia1", *shared]
    with pytest.raises(SandboxError, match=r"gpus=\[2\]: this machine has only 0, 1, 10"):
        gpus.devices([2], tmp_path)


def test_driver_libraries_outside_usr_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "libcuda.so.1").touch()
    monkeypatch.setenv("LD_LIBRARY_PATH", f"{tmp_path}:/usr/lib:/nowhere")
    assert str(tmp_path) in gpus.library_folders()


def test_docker_is_asked_for_devices() -> None:
    (every,) = gpus.device_requests("all")
    assert (every["Count"], every["Capabilities"]) == (-1, [["gpu"]])
    (one,) = gpus.device_requests([1])
    assert one["DeviceIDs"] == ["1"]


@pytest.mark.skipif(HAVE_GPU, reason="this machine has a GPU")
@pytest.mark.parametrize("name", ["bwrap", pytest.param("docker", marks=pytest.mark.docker)])
def test_without_a_gpu_one_clear_error(name: str) -> None:
    if problem := check(name):
        missing(f"{name}: {problem}")
    sandbox = BwrapSandbox(gpus="all") if name == "bwrap" else DockerSandbox(gpus="all")
    with pytest.raises(SandboxError, match=r"gpus='all': .*NVIDIA.*without gpus"):
        sandbox.open(Limits())


@pytest.mark.skipif(not HAVE_GPU, reason="this machine has no GPU")
def test_a_box_sees_its_gpu() -> None:
    code = "import ctypes; n = ctypes.c_int(); cuda = ctypes.CDLL('libcuda.so.1'); cuda.cuInit(0)\n"
    code += "print(cuda.cuDeviceGetCount(ctypes.byref(n)), n.value)"
    with BwrapSandbox(gpus=[0]).open(Limits(memory_mb=4096)) as box:
        assert box.run(["python3", "-c", code]).stdout == "0 1\n"
