"""Ends as the job's metadata says: with a reason, by a signal, by an exit code, or with half a result."""

import json
import os
import signal
import sys

from tests.worker.children.protocol import Child

child = Child()
child.say("phase", phase="baseline_eval")
match child.metadata["way"]:
    case "reason":
        reason = {
            "code": "dataset_too_short",
            "message": "12 tokens,\0 less than one window.",
            "hint": "Add text.",
            "retryable": False,
            "phase": "loading_data",
            "step": 3,
        }
        (child.out / "error.json").write_text(json.dumps(reason))
        sys.exit(1)
    case "memory":
        size = child.spec["method"]["train"]["micro_batch_size"] or 8
        if size > int(child.metadata["fits"]):
            reason = {
                "code": "out_of_gpu_memory",
                "message": "The accelerator's memory is full.",
                "hint": "",
                "retryable": False,
                "phase": "pruning",
                "step": 0,
                "micro_batch_size": size,
            }
            (child.out / "error.json").write_text(json.dumps(reason))
            sys.exit(1)
        child.leave_result({"config.json": b"{}"}, {"micro_batch_size": size})
    case "gpu":
        reason = {
            "code": "gpu_fault",
            "message": "The accelerator has failed.",
            "hint": "",
            "retryable": True,
            "phase": "pruning",
            "step": 0,
        }
        (child.out / "error.json").write_text(json.dumps(reason))
        sys.exit(1)
    case "signal":
        sys.stderr.write("last words\n")
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    case "code":
        (child.out / "error.json").write_text('{"code": "cut sho')
        sys.exit(7)
    case "no model":
        (child.out / "result.json").write_text('{"summary": {}, "model_dir": "../.."}')
    case "empty model":
        child.leave_result({}, {})
        (child.out / "model").mkdir()
