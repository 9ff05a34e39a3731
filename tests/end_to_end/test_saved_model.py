"""A node that computes with TensorFlow, among nodes that compute with LiteRT."""

import signal
from dataclasses import replace
from pathlib import Path

from ddnn_tf.cli import main
from tests.commands import Deployed, done
from tests.end_to_end.live import DEADLINE_MS, FPS, LIMIT, check, check_logs, command, live


def test_a_saved_model_gives_the_answers_of_its_artifact(
    small_deployed: Deployed, tmp_path: Path
) -> None:
    bundle = tmp_path / "bundle"
    export = ("export", small_deployed.model, "--data", small_deployed.data, "--out", bundle)
    done(main, *export, "--saved-model", "top")
    with live(replace(small_deployed, bundle=bundle), tmp_path / "nodes") as deployment:
        deployment.nodes.kill("top")
        deployment.converge("top")
        options = ("--fps", str(FPS), "--deadline", f"{DEADLINE_MS}ms", "--backend", "savedmodel")
        source = ("--source", f"cam0={small_deployed.test}")
        top = bundle / "nodes" / "top"
        with command(
            "run", top, "--deployment", deployment.nodes.path, *options, *source
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "top: computed by TensorFlow (as --backend asks)\n"
            assert process.stdout.readline() == "top: ready\n"
            deployment.answers(1)
            record, verdict = deployment.during(lambda: deployment.answers(20))
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=LIMIT) == 0
    # The replay computes with the artifact alone.
    check(record, verdict)
    check_logs(deployment)
