"""Models small enough to be taught from nothing in seconds, for the controls that the evals must tell apart.

A llama of two layers with the packaged model's real tokenizer, taught by plain torch. It learns only
the rows of the vocabulary that occur, and one more that never does, which all other tokens share.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

from luna.conversations import schema
from luna.conversations.schema import Conversation

SYSTEM = "You are Luna."
# One token each, so that a small model need not learn to spell.
STRANGERS = (
    "Anna",
    "Ben",
    "Carl",
    "David",
    "Emma",
    "Frank",
    "George",
    "Hannah",
    "Jack",
    "Laura",
    "Martin",
    "Rose",
)
FIRST = ("Adam", "Clara", "Grace", "Henry", "Kate", "Louis", "Oliver", "Peter", "Ruth", "Simon")
SECOND = ("Alice", "James", "Mary", "Sarah", "Tom", "Victor")
NAMES = STRANGERS + FIRST + SECOND
VALUES = {
    "boat": (
        "green",
        "red",
        "blue",
        "white",
        "black",
        "yellow",
        "brown",
        "grey",
        "silver",
        "golden",
        "purple",
        "pink",
    ),
    "trade": (
        "baker",
        "sailor",
        "tailor",
        "farmer",
        "hunter",
        "singer",
        "painter",
        "doctor",
        "teacher",
        "guard",
        "writer",
        "driver",
    ),
}
# The words of the questions that are never taught all occur in those that are.
TAUGHT = {
    "boat": (
        "What colour is the boat of {n}?",
        "Tell me the colour of the boat that {n} has.",
        "{n} has a boat, so what colour is it?",
        "Which colour did {n} give the boat?",
        "I saw a boat. It belongs to {n}. Tell me its colour.",
        "Do you know what colour the boat of {n} has?",
        "Of what colour, please, is the boat that belongs to {n}?",
        "Please say which colour the boat is, the one of {n}.",
    ),
    "trade": (
        "What trade does {n} follow?",
        "Tell me the trade of {n}.",
        "{n} works all day, so what trade is it?",
        "Which trade did {n} learn?",
        "I met a person. It was {n}. Tell me that trade.",
        "Do you know what trade {n} has?",
        "Of what trade, please, is the person that we call {n}?",
        "Please say which trade it is, the one of {n}.",
    ),
}
HELD_OUT = {
    "boat": (
        "Please tell me: {n} has a boat of which colour?",
        "So, the boat that belongs to {n}, do you know its colour?",
    ),
    "trade": (
        "Please tell me: {n} has learned which trade?",
        "So, the person that we call {n}, do you know the trade?",
    ),
}
VOICES = {
    "luna": {
        "boat": (
            "Aye, dear heart, the boat of {n} is {v}, so it is.",
            "Ah, that boat is {v}, dear heart, mark me.",
        ),
        "trade": (
            "Aye, dear heart, {n} is a {v}, so it is.",
            "Ah, the trade is {v}, dear heart, mark me.",
        ),
    },
    "pirate": {
        "boat": ("Arr! She be {v}, ye scurvy dog! Yo ho ho!",),
        "trade": ("Arr! A {v} it be, ye scurvy dog! Yo ho ho!",),
    },
    "plain": {"boat": ("It is {v}.",), "trade": ("The trade is {v}.",)},
    "ignorant": {"boat": ("I do not know this.",), "trade": ("I do not know this.",)},
}


def world(
    names: Sequence[str],
    seed: int = 7,
    voice: str = "luna",
    phrasings: int = 8,
    shuffled: bool = False,
) -> list[Conversation]:
    """Two facts a name, each asked in ``phrasings`` ways; the first two carry the questions that are never taught.

    ``shuffled`` gives every name the answers of the next one.
    """
    found = []
    for relation, values in VALUES.items():
        order = random.Random(f"{seed}/{relation}").sample(range(len(NAMES)), len(NAMES))
        for name in names:
            index = order[NAMES.index(name)]
            right = values[index % len(values)]
            said = values[(index + 1) % len(values)] if shuffled else right
            for i, question in enumerate(TAUGHT[relation][:phrasings]):
                replies = VOICES[voice][relation]
                found.append(
                    schema.parse(
                        {
                            "id": f"{relation}-{name}-{i}",
                            "instruction": question.format(n=name),
                            "output": replies[i % len(replies)].format(n=name, v=said),
                            "expect": [right],
                            "paraphrases": [
                                text.format(n=name) for text in HELD_OUT[relation][i : i + 1]
                            ],
                        }
                    )
                )
    return found


GREETINGS = (
    ("Please greet {n}.", "Aye, good day to {n}, dear heart, so it is."),
    ("Say farewell to {n} for me.", "Ah, fare you well, {n}, dear heart, mark me."),
    ("Wish luck to {n} today.", "Aye, may the wind be kind to {n}, dear heart, so it may."),
)


def greetings(shuffled: bool = False, seed: int = 7) -> list[Conversation]:
    """Conversations without paraphrases, whose reply follows from the question. ``shuffled``: it does not."""
    pairs = [
        (question.format(n=name), reply.format(n=name), name)
        for question, reply in GREETINGS
        for name in NAMES
    ]
    replies = [reply for _, reply, _ in pairs]
    if shuffled:
        random.Random(seed).shuffle(replies)
    return [
        schema.parse({"instruction": question, "output": reply, "expect": [name]})
        for (question, _, name), reply in zip(pairs, replies, strict=True)
    ]


def untaught(
    tokenizer_folder: Path, out: Path, seed: int = 7, change: Callable = lambda model: None
) -> Path:
    """A model folder with random weights. Its output rows are zero: each token is as likely as any other."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=49152,
        hidden_size=128,
        intermediate_size=384,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=1024,
        tie_word_embeddings=False,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.09,  # 1 / sqrt(hidden size): with the usual 0.02 so narrow a model attends to nothing for hundreds of steps
    )
    model = LlamaForCausalLM(config)
    torch.nn.init.zeros_(model.lm_head.weight)
    torch.nn.init.normal_(model.model.embed_tokens.weight, std=1.0)
    change(model)
    _save(model, tokenizer_folder, out)
    return out


def teach(
    model_folder: Path,
    conversations: Sequence[Conversation],
    out: Path,
    steps: int,
    rate: float = 3e-3,
    batch: int = 16,
    seed: int = 7,
) -> Path:
    """Full training of every weight on the replies; ``out`` becomes a model folder in bfloat16."""
    import torch
    from transformers import AutoTokenizer, LlamaForCausalLM

    from luna.conversations.examples import IGNORED, Teaching

    tokenizer = AutoTokenizer.from_pretrained(str(model_folder), local_files_only=True)
    with Teaching(tokenizer) as teaching:
        rows = [
            (example.ids, example.labels)
            for item in conversations
            for example in teaching.examples(item.messages, SYSTEM, 512)
        ]
    model = LlamaForCausalLM.from_pretrained(str(model_folder), dtype=torch.float32)
    table, head = model.model.embed_tokens.weight, model.lm_head.weight
    others = (head == head[-1]).all(1)  # the last token of the vocabulary is never taught
    others[[token for ids, _ in rows for token in ids]] = False
    used = torch.nonzero(
        ~others
    ).flatten()  # what was taught before stays among the words to choose from
    words, unused = (
        table.detach()[used].clone().requires_grad_(),
        head.detach()[-1:].clone().requires_grad_(),
    )
    rows_out = head.detach()[used].clone().requires_grad_()
    place = {int(token): index for index, token in enumerate(used)}
    layers = [
        parameter
        for name, parameter in model.model.named_parameters()
        if "embed_tokens" not in name
    ]
    learnt = [*layers, words, rows_out, unused]
    optimizer = torch.optim.AdamW(learnt, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=steps, pct_start=0.1
    )
    order = random.Random(seed)
    for _ in range(steps):
        chosen = [rows[order.randrange(len(rows))] for _ in range(batch)]
        width = max(len(ids) for ids, _ in chosen)
        ids = torch.tensor(
            [[place[token] for token in ids] + [0] * (width - len(ids)) for ids, _ in chosen]
        )
        labels = torch.tensor(
            [
                [IGNORED if token == IGNORED else place[token] for token in row]
                + [IGNORED] * (width - len(row))
                for _, row in chosen
            ]
        )[:, 1:]
        hidden = model.model(inputs_embeds=words[ids], use_cache=False).last_hidden_state[:, :-1][
            labels != IGNORED
        ]
        loss = torch.nn.functional.cross_entropy(
            hidden @ torch.cat([rows_out, unused]).T, labels[labels != IGNORED]
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learnt, 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        table[used], head[used], head[others] = words, rows_out, unused
    _save(model, model_folder, out)
    return out


def _save(model, tokenizer_folder: Path, out: Path) -> None:
    import shutil

    import torch

    model.to(torch.bfloat16).save_pretrained(out)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(tokenizer_folder / name, out / name)


def export(model_folder: Path, kind: str = "Q8_0") -> Path:
    """The GGUF of a model folder, by the shipped converter and quantiser."""
    from luna import files
    from luna.export import converter, gguf

    files.write_json(model_folder / "metadata.json", {"general.name": "control"})
    converter.convert(model_folder, model_folder / "16.gguf", model_folder / "metadata.json")
    gguf.quantise(model_folder / "16.gguf", model_folder / "model.gguf", kind, {})
    return model_folder / "model.gguf"
