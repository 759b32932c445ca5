#!/usr/bin/env python3
"""What PyTorch makes of the recipe that `puna train` ran: the same first weights, rows, order, optimizer and schedule.

    puna train ... --steps 1 --lr 1e-30 --out FIRST     writes the first weights, a Hugging Face folder (full, or --from-scratch)
    python train_torch.py PUNA FIRST TEXT [options]      (torch, transformers, peft; float32 on the CPU)

TEXT: documents with lines <|endoftext|> between them, or one document. Rows are cut, packed and ordered as puna's with --no-shuffle:
a window begins with BOS, a document ends with EOS, whole windows share a row and do not see each other. --lora R trains an adapter of
rank R, alpha 2 R, on the seven projections instead (its B is zero, its A is PEFT's own random start, so losses agree nearly, not wholly).
Prints the held-out loss before, on the way and after, and the tokens per second.
"""
import argparse, json, math, subprocess, tempfile, time
import torch
from transformers import LlamaForCausalLM

p = argparse.ArgumentParser()
p.add_argument("puna"), p.add_argument("model"), p.add_argument("text")
p.add_argument("--tokenizer", help="a model file that puna takes the words from; default: MODEL")
p.add_argument("--length", type=int, default=256), p.add_argument("--batch", type=int, default=16)
p.add_argument("--epochs", type=int, default=1), p.add_argument("--lr", type=float, default=1e-3)
p.add_argument("--warmup", type=int, default=0), p.add_argument("--weight-decay", type=float, default=0.01)
p.add_argument("--held-out", type=float, default=2.0, help="percent of the windows, the last ones")
p.add_argument("--eval-every", type=int, default=0), p.add_argument("--lora", type=int, default=0)
p.add_argument("--threads", type=int, default=2)
p.add_argument("--shuffle", type=int, default=None, help="seed of PyTorch's own order instead of the file's")
a = p.parse_args()
torch.set_num_threads(a.threads)
torch.manual_seed(0)
BOS, EOS = 1, 2


def windows():
    documents, lines = [], []
    text = open(a.text, encoding="utf-8").read()
    for line in text.removesuffix("\n").split("\n") + ["<|endoftext|>"]:
        if line == "<|endoftext|>":
            documents.append("\n".join(lines))
            lines = []
        else:
            lines.append(line)
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as f:
        documents = [d for d in documents if d.strip()]
        f.write("".join(json.dumps(d) + "\n" for d in documents))
        f.flush()
        told = subprocess.run([a.puna, "tokenize", "-m", a.tokenizer or a.model, "--lines", f.name], capture_output=True, text=True, check=True)
    for line in told.stdout.splitlines():
        ids = [i for i in json.loads(line) if i != BOS] + [EOS]
        for at in range(0, len(ids), a.length - 1):
            yield [BOS] + ids[at:at + a.length - 1]


def pack(examples):
    rows, filled = [], 0
    for e in examples:
        if not rows or filled + len(e) > a.length:
            rows.append([])
            filled = 0
        rows[-1].append(e)
        filled += len(e)
    return rows


def batch(rows):
    B, T = len(rows), a.length
    ids, target = torch.zeros(B, T, dtype=torch.long), torch.full((B, T), -100)
    position, segment = torch.zeros(B, T, dtype=torch.long), torch.full((B, T), -1)
    for b, row in enumerate(rows):
        at = 0
        for s, e in enumerate(row):
            n = len(e) - 1
            ids[b, at:at + n], target[b, at:at + n] = torch.tensor(e[:-1]), torch.tensor(e[1:])
            position[b, at:at + n], segment[b, at:at + n] = torch.arange(n), s
            at += n
        segment[b, at:] = torch.arange(1000, 1000 + T - at)  # padding sees itself
    seen = (segment[:, :, None] == segment[:, None, :]) & torch.ones(T, T, dtype=torch.bool).tril()
    mask = torch.zeros(B, 1, T, T).masked_fill(~seen[:, None], torch.finfo(torch.float32).min)
    return ids, target, position, mask


def loss_sum(rows):
    ids, target, position, mask = batch(rows)
    logits = model(input_ids=ids, attention_mask=mask, position_ids=position, use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum"), int((target >= 0).sum())


@torch.no_grad()
def held_out():
    model.eval()
    total = [loss_sum(held[i:i + a.batch]) for i in range(0, len(held), a.batch)]
    model.train()
    return sum(float(s) for s, _ in total) / sum(n for _, n in total)


model = LlamaForCausalLM.from_pretrained(a.model, dtype=torch.float32, attn_implementation="sdpa")
if a.lora:
    from peft import LoraConfig, get_peft_model
    model = get_peft_model(model, LoraConfig(r=a.lora, lora_alpha=2 * a.lora, task_type="CAUSAL_LM", target_modules=[
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
model.train()
all_windows = list(windows())
n = int(len(all_windows) * round(a.held_out * 10) / 1000)
rows, held = pack(all_windows[:len(all_windows) - n]), pack(all_windows[len(all_windows) - n:])
tokens = sum(len(e) for row in rows for e in row)
parameters = [p for p in model.parameters() if p.requires_grad]
optimizer = torch.optim.AdamW([{"params": [p for p in parameters if p.dim() > 1], "weight_decay": a.weight_decay},
                               {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0}], lr=a.lr, betas=(0.9, 0.999), eps=1e-8)
per_epoch = math.ceil(len(rows) / a.batch)
steps = per_epoch * a.epochs
print(f"{len(all_windows)} windows, {len(rows)} rows, {tokens} tokens, {len(held)} rows held out, {sum(p.numel() for p in parameters)} parameters, {steps} steps")
print(f"step 0: held-out loss {held_out():.4f}")
order, seconds, trained = list(range(len(rows))), 0.0, 0
for step in range(steps):
    if a.shuffle is not None and step % per_epoch == 0:
        order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(a.shuffle * 1000 + step // per_epoch)).tolist()
    begin = time.perf_counter()
    if step < a.warmup:
        rate = a.lr * (step + 1) / a.warmup
    else:
        rate = a.lr * 0.5 * (1 + math.cos(math.pi * (step - a.warmup) / (steps - a.warmup)))
    for group in optimizer.param_groups:
        group["lr"] = rate
    at = step % per_epoch * a.batch
    chosen = [rows[i] for i in order[at:at + a.batch]]
    total, count = loss_sum(chosen)
    optimizer.zero_grad(set_to_none=True)
    (total / count).backward()
    torch.nn.utils.clip_grad_norm_(parameters, 1.0)
    optimizer.step()
    seconds += time.perf_counter() - begin
    trained += sum(len(e) - 1 for row in chosen for e in row)
    if a.eval_every and (step + 1) % a.eval_every == 0 and step + 1 < steps:
        print(f"step {step + 1}: loss {float(total) / count:.4f}, held-out loss {held_out():.4f}, {trained / seconds:.0f} tokens/s", flush=True)
print(f"step {steps}: held-out loss {held_out():.4f}, {trained / seconds:.0f} tokens/s, torch {torch.__version__}")
