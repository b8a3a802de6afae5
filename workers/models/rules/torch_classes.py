"""Which classes of pytorch_optimizer 4.1.0 can be rules, and why the others cannot."""

from __future__ import annotations

_NAMES = """
    A2Grad ADOPT APOLLO ASGD AccSGD AdEMAMix AdaBelief AdaBound AdaDelta AdaFactor AdaGC AdaMax AdaMod AdaNorm AdaPNM AdaShift
    AdaSmooth AdaTAM Adai Adalite Adam AdamC AdamG AdamP AdamS AdamW AdamWSN Adan AggMo Aida Alice Amos Ano ApolloDQN AvaGrad BCOS
    CAME DASH DAdaptAdaGrad DAdaptAdam DAdaptAdan DAdaptLion DAdaptSGD DiffGrad DualAdam EXAdam EmoFact EmoLynx EmoNavi FAdam
    FOCUS FTRL Fira FlashAdamW Fromage GaLore Grams Gravity GrokFastAdamW Kate Kron LARS LaProp Lamb Lion MADGRAD MARS MSVAG
    NAdam Nero NovoGrad PAdam PID PNM Prodigy QHAdam QHM RACS RAdam RMSprop ROSE Ranger Ranger21 SCION SCIONLight SGD SGDP
    SGDSaI SGDW SM3 SOAP SPAM SPlus SRMM SWATS SaRA ScheduleFreeAdamW ScheduleFreeRAdam ScheduleFreeSGD Shampoo
    SignSGD SimplifiedAdEMAMix SophiaH StableAdamW StableSPAM TAM Tiger VSGD Yogi
"""
VECTOR = frozenset(_NAMES.split())
MUON = frozenset({"AdaGO", "AdaMuon", "Muon", "MuonClip", "NorMuon"})  # want to be told which groups are matrices
MATRIX = MUON | {"SpectralSphere"}
VALUE = frozenset({"EmoFact", "EmoLynx", "EmoNavi"})  # follow the trend of the values

_PERTURBS = "asks for the gradient at a second point that it chooses itself"
_WRAPS = "is a wrapper around another optimizer; compose native rules instead"
_FUSES = "hooks into the backward pass of a network"
REFUSED: dict[str, str] = {
    "AdaHessian": "differentiates the gradient; `sophia-zo` and `oasis` take the diagonal from values",
    "AdaLOMO": _FUSES,
    "AdamMini": "divides a network by the names of its layers",
    "AliG": "takes the least value to be zero; `polyak` is this step with a target",
    "BSAM": _PERTURBS,
    "Conda": "keeps its projector as an object, which cannot be saved as plain numbers",
    "CPUOffloadOptimizer": _WRAPS,
    "DeMo": "is for gradients spread over several processes",
    "DistributedMuon": "is for gradients spread over several processes; `torch:Muon` is the same in one",
    "FriendlySAM": _PERTURBS,
    "GSAM": _PERTURBS,
    "LBFGS": "searches along a line with evaluations of its own; `lbfgs` does not",
    "LOMO": _FUSES,
    "Lookahead": _WRAPS,
    "LookSAM": _PERTURBS,
    "LoRARite": "moves only pairs of low-rank factors",
    "Magma": _WRAPS,
    "OrthoGrad": _WRAPS,
    "PCGrad": "combines the gradients of several losses inside a network; see `workers.models.aggregation`",
    "RotoGrad": "rotates the features of a network",
    "SAM": _PERTURBS,
    "SafeFP16Optimizer": "scales the gradients of half precision",
    "ScalableShampoo": "keeps its preconditioners as objects, which cannot be saved as plain numbers; `torch:Shampoo` does not",
    "ScheduleFreeWrapper": _WRAPS,
    "TRAC": _WRAPS,
    "WSAM": _PERTURBS,
}


class NotInstalled(ValueError):
    """pytorch_optimizer is not on this machine: whether a rule takes its options shows where it is."""


def check(name: str, shape: tuple[int, int] | None) -> None:
    """Whether a class can be a rule; needs no torch.

    Raises:
        ValueError: it cannot, with the reason.
    """
    if name in REFUSED:
        raise ValueError(f"torch:{name}: {REFUSED[name]}")
    if name not in allowed():
        raise ValueError(f"no rule torch:{name}; there are {', '.join(sorted(allowed()))}")
    if name in MATRIX and shape is None:
        raise ValueError(f"torch:{name} needs a parameter that is declared as a matrix")


def allowed() -> frozenset[str]:
    """Names of the classes that can be rules."""
    return VECTOR | MATRIX
