"""Prompts beside the tokens of vision transformers, and the methods that learn them, by hand."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import pytest
import timm
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.vision_transformer import EncoderBlock

from lifelong import CODA, L2P, DualPrompt, IncrementalHead, Network, by_class, mlp
from lifelong.backbones import Timm, Wrapped
from lifelong.data.sources import digits
from lifelong.parts.token_prompts import blocks_of_tokens, prompts_beside
from lifelong.strategies.coda import orthogonal

SGD = partial(torch.optim.SGD, lr=0.1)
VIT = partial(Timm, (1, 8, 8), "test_vit", options={"patch_size": 4})
KINDS: dict[str, Any] = {
    "l2p": partial(L2P, pool=6, chosen=2, length=3),
    "dualprompt": partial(DualPrompt, general_length=2, expert_length=3),
    "coda": partial(CODA, components=3, length=4),
}
each_kind = pytest.mark.parametrize("kind", KINDS)


def made(kind: str) -> tuple[Any, list[Any]]:
    torch.manual_seed(0)
    method = KINDS[kind](Network(VIT, IncrementalHead), SGD)
    visits = by_class(digits(), shape=(1, 8, 8), tasks=5, name="digits", batch_size=16).visits
    method.begin_task(visits[0])
    return method, visits


def images(visit: Any, number: int = 6) -> Any:
    return visit.train[torch.arange(number)]


def attended(q: Any, k: Any, v: Any, heads: int) -> torch.Tensor:
    """Attention of queries (b, n, d) to keys and values (b, m, d)."""
    q, k, v = (x.unflatten(2, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    weights = (q @ k.transpose(2, 3) / q.shape[-1] ** 0.5).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def test_prefixes_join_the_keys_and_values_of_timms_attention() -> None:
    torch.manual_seed(0)
    block = timm.create_model("test_vit").blocks[0].eval()
    x, keys, values = torch.randn(2, 5, 64), torch.randn(2, 3, 64), torch.randn(2, 3, 64)
    with prompts_beside([block], prefixes={0: (keys, values)}):
        found = block(x)
    q, k, v = block.attn.qkv(block.norm1(x)).chunk(3, 2)
    seen = attended(q, torch.cat([keys, k], 1), torch.cat([values, v], 1), block.attn.num_heads)
    h = x + block.ls1(block.attn.proj(seen))
    wanted = h + block.ls2(block.mlp(block.norm2(h)))
    torch.testing.assert_close(found, wanted)
    assert not torch.allclose(block(x), found)


@pytest.mark.parametrize("grad", [True, False])
def test_prefixes_join_those_of_pytorchs_own_attention(grad: bool) -> None:
    torch.manual_seed(0)
    block = EncoderBlock(2, 8, 16, 0.0, 0.0, partial(nn.LayerNorm, eps=1e-6)).eval()
    x, keys, values = torch.randn(3, 4, 8), torch.randn(3, 2, 8), torch.randn(3, 2, 8)
    with torch.set_grad_enabled(grad), prompts_beside([block], prefixes={0: (keys, values)}):
        found = block(x)
    attention, y = block.self_attention, block.ln_1(x)
    q, k, v = F.linear(y, attention.in_proj_weight, attention.in_proj_bias).chunk(3, 2)
    seen = attended(q, torch.cat([keys, k], 1), torch.cat([values, v], 1), 2)
    h = x + attention.out_proj(seen)
    torch.testing.assert_close(found, h + block.mlp(block.ln_2(h)))


def test_tokens_pass_all_blocks_and_are_left_out_at_the_end() -> None:
    torch.manual_seed(0)
    body = VIT().eval()
    blocks, width = blocks_of_tokens(body, "l2p")
    x, tokens = torch.randn(2, 1, 8, 8), torch.randn(2, 3, width)
    with prompts_beside(blocks, tokens):
        found = body(x)
    module: Any = body.module
    h = module._pos_embed(module.patch_embed(x))
    h = module.norm_pre(torch.cat([h[:, :1], tokens, h[:, 1:]], 1))
    for block in blocks:
        h = block(h)
    h = module.norm(torch.cat([h[:, :1], h[:, 4:]], 1))
    torch.testing.assert_close(found, module.forward_head(h, pre_logits=True))


def test_attention_is_put_back_after_a_mistake() -> None:
    plain = F.scaled_dot_product_attention
    block = timm.create_model("test_vit").blocks[0]
    prompt = torch.zeros(1, 1, 64)
    with pytest.raises(RuntimeError), prompts_beside([block], prefixes={0: (prompt, prompt)}):
        block(torch.zeros(2, 5, 64))
    assert F.scaled_dot_product_attention is plain
    other = nn.Linear(4, 4)
    foreign = pytest.raises(ValueError, match="not PyTorch's")
    with foreign, prompts_beside([other], prefixes={0: (prompt, prompt)}):
        other(torch.zeros(1, 2, 4))
    assert F.scaled_dot_product_attention is plain


def test_l2p_takes_the_prompts_with_the_nearest_keys() -> None:
    method, _ = made("l2p")
    query = torch.randn(5, method.network.body.features)
    seen = method.prompts(query, None)
    q, k = query.numpy(), method.keys.detach().numpy()
    cosines = q @ k.T / np.linalg.norm(q, axis=1)[:, None] / np.linalg.norm(k, axis=1)
    order = np.argsort(-cosines, 1)[:, :2]
    pool = method.pool.detach().numpy()
    wanted = np.stack([np.concatenate([pool[place] for place in row]) for row in order])
    np.testing.assert_array_equal(seen.tokens.detach().numpy(), wanted)
    distance = (1 - np.take_along_axis(cosines, order, 1)).sum(1)
    np.testing.assert_allclose(seen.match.detach().numpy(), distance, rtol=1e-5)


def test_dualprompt_knows_the_task_in_training_and_goes_by_the_nearest_key_without() -> None:
    method, visits = made("dualprompt")
    method.begin_task(visits[1])
    trained = [name for name, p in method.named_parameters() if p.requires_grad]
    assert {name for name in trained if "own" in name or "keys" in name} == {"own.1", "keys.1"}
    assert "shared.0" in trained
    assert not any(name.startswith("network.body") for name in trained)
    query = torch.stack([3 * method.keys["0"].detach(), 0.1 * method.keys["1"].detach()])
    known, unknown = method.prompts(query, 1), method.prompts(query, None)
    for place, block in enumerate((2, 3, 4)):
        keys, values = unknown.prefixes[block]
        for row, task in enumerate("01"):
            assert torch.equal(keys[row], method.own[task][place, 0])
            assert torch.equal(values[row], method.own[task][place, 1])
        assert torch.equal(known.prefixes[block][0][0], method.own["1"][place, 0])
    torch.testing.assert_close(unknown.match, torch.zeros(2), atol=1e-6, rtol=0)
    first = F.cosine_similarity(query[0], method.keys["1"].detach(), 0)
    torch.testing.assert_close(known.match[0], 1 - first)
    assert known.prefixes[0][0].shape == (2, 2, 64)


def test_coda_weighs_components_by_how_a_query_attends() -> None:
    method, visits = made("coda")
    method.begin_task(visits[1])
    query = torch.randn(4, method.network.body.features)
    prefixes = method.prompts(query, None).prefixes
    q = query.numpy()
    keys, attention, parts = (method.all(kind)[2].detach().numpy() for kind in method.sizes)
    assert keys.shape[0] == 6
    wanted = np.zeros((4, 4 * 64))
    for row in range(4):
        for part in range(6):
            a = q[row] * attention[part]
            cosine = a @ keys[part] / np.linalg.norm(a) / np.linalg.norm(keys[part])
            wanted[row] += cosine * parts[part]
    found = torch.cat(prefixes[2], 1).flatten(1).detach().numpy()
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=1e-6)
    held = [name for name, p in method.parts.items() if not p.requires_grad]
    assert sorted(held) == ["0_attention", "0_keys", "0_prompts"]
    assert float(method.prompt_penalty()) == 0


def test_components_begin_orthogonal_to_those_of_earlier_tasks() -> None:
    torch.manual_seed(0)
    first = orthogonal(torch.randn(2, 3, 8, dtype=torch.double), torch.zeros(2, 0, 8).double())
    second = orthogonal(torch.randn(2, 4, 8, dtype=torch.double), first)
    for rows in torch.cat([first, second], 1):
        torch.testing.assert_close(rows @ rows.T, torch.eye(7).double(), atol=1e-12, rtol=0)
    third = orthogonal(torch.randn(2, 4, 8, dtype=torch.double), torch.cat([first, second], 1))
    torch.testing.assert_close(third.norm(dim=2), torch.ones(2, 4).double())
    method, _ = made("coda")
    method.orthogonality = 1.0
    assert float(method.prompt_penalty().detach()) < 1e-8


@each_kind
def test_the_body_stays_and_the_loss_is_among_the_tasks_own_classes(kind: str) -> None:
    method, visits = made(kind)
    method.begin_task(visits[1])
    method.train()
    assert not method.network.body.module.training
    batch = images(visits[1])
    loss = method.training_loss(batch)
    loss.backward()
    assert all(p.grad is None for p in method.network.body.parameters())
    old = method.network.heads.all["0"]
    assert all(p.grad is None or not p.grad.any() for p in old.parameters())
    features, match = method.prompted(batch.x, 1)
    scores = method.network.heads(features, 1)[:, :2]
    wanted = F.cross_entropy(scores, batch.y) + method.pull * match.mean()
    torch.testing.assert_close(loss, wanted)
    plain = method.network.body(batch.x)
    assert not torch.allclose(plain, features, atol=1e-5)


@each_kind
def test_answers_of_mixed_tasks_are_those_of_each(kind: str) -> None:
    method, visits = made(kind)
    method.begin_task(visits[1])
    method.eval()
    x = torch.cat([images(visits[0], 2).x, images(visits[1], 3).x])
    t = torch.tensor([0, 0, 1, 1, 1])
    with torch.no_grad():
        whole = method(x, t)
        parts = torch.cat([method(x[:2], t[:2]), method(x[2:], t[2:])])
        assert method.predict(x).scores.shape == (5, 4)
    torch.testing.assert_close(whole, parts)


def test_other_bodies_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a vision transformer"):
        L2P(Network(partial(mlp, (1, 8, 8), [8]), IncrementalHead), SGD)
    with pytest.raises(ValueError, match="do not take tokens"):
        L2P(Network(partial(Timm, (3, 32, 32), "test_resnet"), IncrementalHead), SGD)
    kept = partial(Wrapped, timm.create_model("test_vit", img_size=32, num_classes=0), (3, 32, 32),
                   fixed=True, cache=True)  # fmt: skip
    with pytest.raises(ValueError, match=r"backbone\.cache=true"):
        CODA(Network(kept, IncrementalHead), SGD)
    with pytest.raises(ValueError, match=r"strategy\.expert=\[9\]"):
        DualPrompt(Network(VIT, IncrementalHead), SGD, expert=[9])
    with pytest.raises(ValueError, match=r"strategy\.prompted=\[0, 0\]: .* each once"):
        CODA(Network(VIT, IncrementalHead), SGD, prompted=[0, 0])
