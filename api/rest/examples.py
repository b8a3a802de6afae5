"""Bodies that can be copied: what OpenAPI shows, kept true by a test that sends each one."""

STUDY = {
    "name": "resnet-lr",
    "parameters": [
        {"name": "lr", "type": "float", "min": 1e-5, "max": 0.1, "scale": "log"},
        {"name": "layers", "type": "int", "min": 1, "max": 8},
        {"name": "optimizer", "type": "categorical", "choices": ["adam", "sgd"]},
        {"name": "momentum", "type": "float", "min": 0, "max": 1, "when": {"optimizer": ["sgd"]}},
    ],
    "objectives": [{"metric": "loss", "goal": "minimize"}],
    "parameter_constraints": ["layers * lr <= 0.2"],
    "suggester": {"name": "auto"},
    "limits": {"max_trials": 200, "max_running": 16},
    "seed": 7,
    "labels": {"team": "vision"},
}
STUDY_PATCH = {"limits": {"max_trials": 400}, "labels": {"stage": "final"}}
ASK = {"count": 1, "worker": "gpu-03:812", "wait_seconds": 30, "lease_seconds": 3600}
TELL = {"metrics": {"loss": 0.21}, "elapsed_seconds": 12.5}
TELL_MANY = {
    "outcomes": [{"number": 1, "metrics": {"loss": 0.2}}, {"number": 2, "state": "failed", "feedback": "out of memory"}]
}
REPORT = {"step": 3, "metrics": {"loss": 0.4}}
ENQUEUE = {"parameters": {"lr": 0.001, "layers": 3, "optimizer": "adam"}, "labels": {"by": "hand"}}
