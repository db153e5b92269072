"""How much sampling a graph asks for: which model, how many steps, how many evaluations a step."""

import re
from dataclasses import dataclass, replace

from jobs.job_types.comfyui import graph, model_classes
from jobs.job_types.comfyui.scene import Scene
from jobs.job_types.comfyui.traits import MAX_COUNT, Latent

SAMPLERS = frozenset({"KSampler", "KSamplerAdvanced", "SamplerCustom", "SamplerCustomAdvanced"})
CONTROLNET_SHARE = 0.35  # of a pass, per ControlNet over all steps
UNKNOWN_EVALUATIONS = 2  # of a method whose name comes through a link nobody can follow
MAX_CONDITIONS = 1e4  # combining a condition with itself doubles: ends the doubling


@dataclass(frozen=True, slots=True)
class Model:
    """The diffusion model on a wire. `extra_passes`: evaluations that patches add to each step."""

    file: str = ""
    model_class: str = ""
    weight_bytes: float = 2.0
    loras: int = 0
    extra_passes: float = 0.0
    known: bool = True


@dataclass(frozen=True, slots=True)
class Condition:
    """Conditions on a wire: `whole` cover the picture, `areas` count the rest, `area_pixels` are theirs."""

    whole: float = 1.0
    areas: float = 0.0
    area_pixels: float = 0.0
    controlnets: float = 0.0
    reference_pixels: float = 0.0

    def weight(self, pixels: float) -> float:
        """Evaluations they cost in one step, in whole pictures; at least the first is whole."""
        return max(1.0, self.whole + min(self.areas, self.area_pixels / max(1.0, pixels)))


@dataclass(frozen=True, slots=True)
class Sampling:
    """One sampler's work. `passes`: model evaluations of one step."""

    node: str
    model: Model
    latent: Latent
    steps: float
    passes: float
    controlnets: float
    reference_pixels: float
    runs: float

    @property
    def model_class(self) -> model_classes.ModelClass:
        return model_classes.CLASSES[self.class_name]

    @property
    def class_name(self) -> str:
        guess = "unknown_video" if self.latent.frames > 1 else "unknown_image"
        return self.model.model_class or guess

    @property
    def shape(self) -> Latent:
        """The latent as the model sees it: an encoded batch is a video's frames to a video model."""
        if self.model_class.video and self.latent.frames == 1 and self.latent.batch > 1:
            return replace(self.latent, frames=self.latent.batch, batch=1)
        return self.latent

    def pass_seconds(self, flops: float = model_classes.REFERENCE_FLOPS) -> float:
        """One evaluation of the whole batch on a GPU of that effective rate."""
        kind, shape = self.model_class, self.shape
        extra = kind.extra_tokens(self.reference_pixels)
        work = kind.pass_flops(shape.width, shape.height, shape.frames, extra) * shape.batch
        return work * (1 + CONTROLNET_SHARE * self.controlnets) / flops + kind.launch_seconds

    @property
    def seconds(self) -> float:
        return self.steps * self.passes * self.pass_seconds() * self.runs


def sampling_of(scene: Scene, node: str) -> Sampling:
    """The work of a sampler node (one of SAMPLERS)."""
    kind = scene.kind(node)
    latent = scene.latent(node, "latent_image")
    guider = scene.source(node, "guider") if kind == "SamplerCustomAdvanced" else (node, 0)
    if guider is None:
        model, conditions, passes = Model(known=False), Condition(), 2.0
    else:
        model, conditions, passes = _guided(scene, guider[0], latent.width * latent.height)
    return Sampling(
        node=node,
        model=model,
        latent=latent,
        steps=_steps(scene, node, kind),
        passes=(passes + model.extra_passes) * _evaluations(scene, node, kind),
        controlnets=conditions.controlnets,
        reference_pixels=conditions.reference_pixels,
        runs=scene.runs(node),
    )


def samplings(scene: Scene) -> list[Sampling]:
    """The work of every sampler that runs."""
    if scene.long:
        for link in scene.sources_first():
            model_at(scene, link)
            _condition_at(scene, link)
            _sigma_steps(scene, link)
    return [
        sampling_of(scene, node)
        for node in scene.nodes
        if node in scene.live and scene.kind(node) in SAMPLERS
    ]


def model_of(scene: Scene, node: str, *fields: str) -> Model:
    """The model at the first of `fields` that is linked."""
    for field in fields:
        link = scene.source(node, field)
        if link is not None:
            return model_at(scene, link)
    return Model(known=False)


# --- guidance --------------------------------------------------------------------------------


def _guided(scene: Scene, node: str, pixels: float) -> tuple[Model, Condition, float]:
    """(model, conditions, evaluations a step) of a guider, or of a sampler that is its own."""
    kind = scene.kind(node)
    model = model_of(scene, node, "model")
    if kind == "BasicGuider":
        only = _conditions(scene, node, "conditioning")
        return model, only, only.weight(pixels)
    positive = _conditions(scene, node, "positive", "cond1")
    negative = _conditions(scene, node, "negative")
    both = replace(
        positive,
        controlnets=max(positive.controlnets, negative.controlnets),
        reference_pixels=max(positive.reference_pixels, negative.reference_pixels),
    )
    passes = positive.weight(pixels)
    cfg_fields = ("cfg", "cfg_conds", "video_cfg", "audio_cfg")
    if any(scene.has(node, field) and scene.number(node, field, 8) != 1 for field in cfg_fields):
        passes += negative.weight(pixels)
    if kind in ("DualCFGGuider", "PerpNegGuider", "LTXVDualCFGGuider"):
        passes += 1
    return model, both, passes


def _evaluations(scene: Scene, node: str, kind: str) -> float:
    """Evaluations the chosen sampling method makes in one step."""
    if kind in ("KSampler", "KSamplerAdvanced"):
        return _evaluations_named(scene, node)
    source = scene.source(node, "sampler")
    if source is None:
        return 1
    if scene.kind(source[0]) == "KSamplerSelect":
        return _evaluations_named(scene, source[0])
    name = re.sub(r"^sampler_?", "", scene.kind(source[0]).lower())
    if name == "sasolver":
        return 2 if scene.value(source[0], "use_pece") else 1
    return {"dpmpp_sde": 2, "dpmpp_2s_ancestral": 2, "dpmadaptative": 3, "seeds2": 2}.get(name, 1)


def _evaluations_named(scene: Scene, node: str) -> float:
    name = scene.text(node, "sampler_name")
    return model_classes.evaluations(name) if name else UNKNOWN_EVALUATIONS


# --- steps -----------------------------------------------------------------------------------


def _steps(scene: Scene, node: str, kind: str) -> float:
    if kind == "KSampler":
        return max(0.0, scene.number(node, "steps", 20))
    if kind == "KSamplerAdvanced":
        steps = scene.number(node, "steps", 20)
        last = min(steps, scene.number(node, "end_at_step", 10_000))
        return max(0.0, last - max(0.0, scene.number(node, "start_at_step", 0)))
    source = scene.source(node, "sigmas")
    return 20.0 if source is None else _sigma_steps(scene, source)


def _sigma_steps(scene: Scene, link: graph.Link) -> float:
    return scene.remember("steps", link[0], link[1], 20.0, lambda: _count_sigmas(scene, *link))


def _count_sigmas(scene: Scene, node: str, slot: int) -> float:
    kind = scene.kind(node)
    source = scene.source(node, "sigmas")
    if kind == "ManualSigmas":
        text = scene.text(node, "sigmas")
        return max(0.0, len(re.findall(r"\d+\.?\d*|\.\d+", text)) - 1.0) if text else 20.0
    if kind == "SplitSigmas" and source:
        whole = _sigma_steps(scene, source)
        first = min(whole, max(0.0, scene.number(node, "step", 0)))
        return first if slot == 0 else whole - first
    if kind == "SplitSigmasDenoise" and source:
        whole = _sigma_steps(scene, source)
        second = round(whole * min(1.0, max(0.0, scene.number(node, "denoise", 1))))
        return whole - second if slot == 0 else second
    if kind == "ExtendIntermediateSigmas" and source:
        whole = _sigma_steps(scene, source)
        return min(MAX_COUNT, whole * max(1.0, scene.number(node, "steps", 2)))
    if source is not None:
        return _sigma_steps(scene, source)
    steps = max(0.0, scene.number(node, "steps", 20))
    if kind in ("AlignYourStepsScheduler", "GITSScheduler", "OptimalStepsScheduler"):
        return round(steps * min(1.0, max(0.0, scene.number(node, "denoise", 1))))
    return steps


# --- models ----------------------------------------------------------------------------------

_MODEL_FILES = ("ckpt_name", "unet_name", "model_name", "model_path", "gguf_name", "model")
_ONE_MORE_PASS = (
    "PerturbedAttentionGuidance", "SelfAttentionGuidance", "SkipLayerGuidanceSD3", "SkipLayerGuidanceDiT",
    "LTXVSpatioTemporalGuidance", "LTXVModalityGuidance", "NAGuidance", "PerpNeg",
)  # fmt: skip


def model_at(scene: Scene, link: graph.Link) -> Model:
    return scene.remember("model", link[0], link[1], Model(known=False), lambda: _model(scene, link[0]))


def _model(scene: Scene, node: str) -> Model:
    kind = scene.kind(node)
    if scene.source(node, "model") or scene.source(node, "model1"):
        base = model_of(scene, node, "model", "model1")
        lora = "lora" in kind.lower()
        more = 1.0 if kind in _ONE_MORE_PASS else 0.0
        return replace(base, loras=base.loras + lora, extra_passes=min(8.0, base.extra_passes + more))
    for field in _MODEL_FILES:
        name = scene.text(node, field)
        if name:
            found = model_classes.class_of(name)
            dtype = scene.text(node, "weight_dtype")
            known = bool(found) and not model_classes.CLASSES[found].rough
            return Model(name, found, model_classes.bytes_per_weight(name, dtype), known=known)
    return Model(known=False)


# --- conditions ------------------------------------------------------------------------------

_CONDITION_FIELDS = (
    "positive", "conditioning", "conditioning_to", "conditioning_1", "cond1", "conditioning_from", "negative",
)  # fmt: skip


def _conditions(scene: Scene, node: str, *fields: str) -> Condition:
    for field in fields:
        link = scene.source(node, field)
        if link is not None:
            return _condition_at(scene, link)
    return Condition()


def _condition_at(scene: Scene, link: graph.Link) -> Condition:
    return scene.remember("condition", link[0], link[1], Condition(), lambda: _condition(scene, *link))


def _condition(scene: Scene, node: str, slot: int) -> Condition:
    kind = scene.kind(node)
    fields = ("negative", *_CONDITION_FIELDS) if slot == 1 else _CONDITION_FIELDS
    base = _conditions(scene, node, *fields)
    if kind == "ConditioningCombine":
        other = _conditions(scene, node, "conditioning_2")
        return Condition(
            whole=min(MAX_CONDITIONS, base.whole + other.whole),
            areas=min(MAX_CONDITIONS, base.areas + other.areas),
            area_pixels=min(1e15, base.area_pixels + other.area_pixels),
            controlnets=max(base.controlnets, other.controlnets),
            reference_pixels=max(base.reference_pixels, other.reference_pixels),
        )
    if kind == "ConditioningSetArea":
        pixels = max(0.0, scene.number(node, "width", 1024)) * max(0.0, scene.number(node, "height", 1024))
        count = base.whole + base.areas
        return replace(base, whole=0.0, areas=count, area_pixels=pixels * count)
    if kind.startswith("ControlNetApply") or kind == "ControlNetInpaintingAliMamaApply":
        share = scene.number(node, "end_percent", 1) - scene.number(node, "start_percent", 0)
        used = min(1.0, max(0.0, share)) if scene.number(node, "strength", 1) else 0.0
        return replace(base, controlnets=min(MAX_CONDITIONS, base.controlnets + used))
    if kind == "ReferenceLatent":
        latent = scene.latent(node, "latent")
        return replace(base, reference_pixels=base.reference_pixels + latent.width * latent.height)
    if kind.startswith("TextEncode"):
        references = [field for field, _ in scene.wires[node].items() if re.match(r"images?[\d.]*", field)]
        if references and scene.source(node, "vae"):
            return replace(base, reference_pixels=len(references) * 1024.0 * 1024.0)
    return base


def largest(found: list[Sampling]) -> Sampling | None:
    """The sampler that works longest; among equals the one whose model's name comes first."""
    return min(found, key=lambda one: (-one.seconds, one.model.file), default=None)
