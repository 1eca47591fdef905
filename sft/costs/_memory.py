"""How much memory a process of a training run takes, part by part.

Bytes; N weights, of which T are trained, on P processes; a number that the model computes with
takes w bytes (2 in bf16, 4 in fp32). What is divided by P is padded a little in reality.
"""

from __future__ import annotations

from dataclasses import dataclass

from sft.costs._job import Job
from sft.recipe import Attention, Offload, Precision, Recompute


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes of one process when it needs most."""

    weights: int
    gathered: int
    """Weights of other processes (or of the host) that ZeRO 3 holds for the layers at work."""
    gradients: int
    optimizer: int
    """Master weights and moments."""
    activations: int
    """Kept by the forward pass for the backward pass, and what this holds at one layer."""
    logits: int
    buckets: int
    reserve: int
    host: int
    """In the memory of the host, not on the GPU; of one process."""

    @property
    def total(self) -> int:
        """On the GPU."""
        return (
            self.weights
            + self.gathered
            + self.gradients
            + self.optimizer
            + self.activations
            + self.logits
            + self.buckets
            + self.reserve
        )


def memory(job: Job) -> Memory:
    """The memory of one process. Each part's formula stands at its function."""
    kept, working = activation_bytes(job)
    logits = logit_bytes(job)
    gradients, gradients_host = gradient_bytes(job)
    states = state_bytes(job)
    weights, gathered, weights_host = weight_bytes(job)
    offloaded = job.offload is not Offload.NONE
    return Memory(
        weights=weights,
        gathered=gathered,
        gradients=gradients,
        optimizer=0 if offloaded else states,
        # Logits are gone when the layers' backward pass begins.
        activations=kept + max(0, working - logits),
        logits=logits,
        buckets=bucket_bytes(job),
        reserve=job.reserve,
        host=weights_host + gradients_host + (states if offloaded else 0),
    )


def weight_bytes(job: Job) -> tuple[int, int, int]:
    """Bytes of the weights: the process's own, those gathered for the moment, those on the host.

    w N up to stage 2, w N / P at stage 3 (arXiv 1910.02054, section 5.3). At stage 3 whole layers
    are copies beside the process's own part, at most ``live_weights`` at a time; a single process
    computes with its part itself, unless that is on the host.
    """
    whole = job.width * job.held
    if job.zero < 3:
        return whole, 0, 0
    own = whole // job.processes
    gathered = job.width * min(job.held, job.live_weights)
    if job.offload is Offload.ALL:
        return 0, gathered, own
    return own, 0 if job.processes == 1 else gathered, 0


def gradient_bytes(job: Job) -> tuple[int, int]:
    """Bytes of the gradients, on the GPU and on the host; they are summed in fp32.

    At stages 0 and 1, 4 T, and in bf16 at stage 1 another 2 T that the backward pass leaves before
    they are added (without offload). At stages 2 and 3, 4 T / P (arXiv 1910.02054, section 5.2),
    which offload moves to the host, where the optimizer's copy takes as much again. In fp32, stages
    1 and 2 put the sums into one block when the step begins, 4 T / P more.
    """
    trained, share = job.trained, job.trained // job.processes
    offloaded = job.offload is not Offload.NONE
    host = 8 * share if offloaded else 0
    fp32 = job.precision is Precision.FP32
    if job.zero == 0:
        return 4 * trained, host
    if job.zero == 1:
        low = 2 * trained if not fp32 and not offloaded else 0
        return 4 * trained + low + (4 * share if fp32 and not offloaded else 0), host
    if offloaded:
        return 0, host
    return 4 * share * (2 if fp32 and job.zero == 2 else 1), host


def state_bytes(job: Job) -> int:
    """Bytes of the optimizer's states: fp32 master weights and two moments of Adam.

    12 T / P (arXiv 1910.02054, section 3.1, K = 12). Stage 0 in fp32 divides nothing and needs no
    masters: 8 T.
    """
    if job.zero == 0:
        return 8 * job.trained
    return 12 * job.trained // job.processes


def activation_bytes(job: Job) -> tuple[int, int]:
    """Bytes of activations: what the forward pass keeps, and what comes on top without logits.

    Counted off the layers of transformers' Llama, not compiled (compare arXiv 2205.05198, section
    4.1, which counts another layer). Per token and layer, with hidden size h, attention width
    a = heads x head size, intermediate size I, H heads and pack length s:

    - two norms: the input in fp32 (4 h), normed (w h) and scaled (w h) each, and 4 for the root:
      2 (4 + 2 w) h + 8
    - attention: queries, keys and values with keys' heads repeated, and the output: 4 w a
    - its weights: eager keeps the softmax in fp32 and as a factor of the product, 6 H s in bf16,
      4 H s in fp32; the others keep 4 H, and sdpa the mask of the pack, w s
    - the MLP: gate, its activation, up, and their product: 4 w I

    Recomputing keeps w h of each layer instead, and the mask that all layers share: s for sdpa,
    w s for eager. Outside the layers there are the last norm, (4 + 2 w) h, the rotary angles,
    2 w d, and two numbers of the token.

    On top of it comes a layer's backward pass, when what is outside is free again: w I + 2 w h of
    gradients, 4 H s more in eager (of the softmax, in fp32), and with recomputing the layer in
    full; or the shared mask in the forward pass, whichever is more. Adapters add their inner
    products, which are left out.
    """
    shape, w, tokens = job.shape, job.width, job.tokens
    h, heads = shape.hidden, shape.heads
    layer = 2 * (4 + 2 * w) * h + 8 + 4 * w * shape.attention_width + 4 * w * shape.intermediate
    working = w * shape.intermediate + 2 * w * h
    mask = 0
    if job.attention is Attention.EAGER:
        layer += (6 if w == 2 else 4) * heads * job.length
        working += 4 * heads * job.length
        mask = w * job.length
    elif job.attention is Attention.SDPA:
        layer += 4 * heads + w * job.length
        mask = job.length
    else:
        layer += 4 * heads
    outside = (4 + 2 * w) * h + 2 * w * shape.head_dim + 16
    if job.recompute is Recompute.FULL:
        kept, more = shape.layers * w * h + mask + outside, layer + working - outside
    else:
        kept, more = shape.layers * layer + outside, max(working - outside, mask)
    return kept * tokens, max(0, more) * tokens


def logit_bytes(job: Job) -> int:
    """Bytes of logits and of the hidden states that they are made from, at their most.

    Only supervised tokens have logits, ``chunk`` of them at a time. With vocabulary V a token takes
    12 V: logits, their logarithm and its gradient in fp32. Every supervised token's hidden state
    and its gradient take 2 w h.
    """
    supervised = round(job.tokens * job.supervised)
    once = 12 * job.shape.vocabulary * min(supervised, job.chunk)
    return once + 2 * job.width * job.shape.hidden * supervised


def bucket_bytes(job: Job) -> int:
    """Bytes of communication buckets of B elements, as DeepSpeed 0.19 allocates them.

    Stage 0 and stage 1 in bf16 put gradients together for their sum over processes, 4 B if there
    is more than one. Stage 1 has one bucket of sums in fp32, 4 B. Stage 2 has two of w B that
    alternate, and one in fp32 in which they are summed if w is 2. Stage 3 has one in fp32, and as
    much again to scatter it.
    """
    size, w = job.bucket, job.width
    if job.zero == 0 or (job.zero == 1 and w == 2 and job.offload is Offload.NONE):
        return 4 * min(size, job.trained) if job.processes > 1 else 0
    if job.zero == 1:
        return 4 * size
    if job.zero == 2:
        return 2 * w * size + (4 * min(size, job.trained) if w == 2 else 0)
    return 4 * size + 4 * min(size, job.trained)
