"""Two trainer containers share one training, and go on after one of them was killed."""

import json
import subprocess
import time
from typing import Any

FILES = (
    "docker-compose.yml",
    "docker/compose.cpu.yml",
    "docker/compose.alone.yml",
    "docker/compose.two-nodes.yml",
)
STEPS = 9


def docker(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, **options)


def containers(stack):
    return stack.compose("ps", "--all", "--quiet", "trainer").stdout.split()


def test_two_nodes_train_together_and_go_on_after_one_was_killed(new_stack):
    with new_stack("SDFT_MAX_EVAL_SAMPLES=4", "SDFT_SAVE_STEPS=1", files=FILES) as stack:
        rows = stack.data / "tiny_world" / "train_data.json"
        rows.write_text(json.dumps(json.loads(rows.read_text())[:96]))  # 3 epochs of 3 steps
        begun = stack.compose("up", "--detach", "--no-build", "trainer")
        assert begun.returncode == 0, begun.stderr
        first, second = containers(stack)
        deadline = time.monotonic() + 240
        while not (stack.outputs / "sdft" / "checkpoint-2").exists():
            assert time.monotonic() < deadline, docker("logs", first).stderr[-2000:]
            time.sleep(0.1)
        docker("kill", second)
        assert docker("wait", first, timeout=120).stdout.strip() not in ("", "0")
        assert "error: another process of this run ended, or can't be reached" in docker("logs", first).stderr
        again = stack.compose("up", "--no-build", "trainer", timeout=300)
        assert "going on from outputs/sdft/checkpoint-" in again.stdout, again.stdout[-3000:]
        codes = [json.loads(docker("inspect", name).stdout)[0]["State"]["ExitCode"] for name in containers(stack)]
        assert codes == [0, 0], again.stdout[-3000:]
        lines = (stack.outputs / "sdft" / "metrics.jsonl").read_text().splitlines()
        assert [json.loads(line)["step"] for line in lines] == [*range(1, STEPS + 1)]
        assert json.loads((stack.outputs / "sdft" / "summary.json").read_text())["status"] == "finished"
        assert (stack.outputs / "sdft" / f"checkpoint-{STEPS}" / "shards" / ".metadata").is_file()
