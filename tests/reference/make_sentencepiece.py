"""Makes `fixtures/sentencepiece`: two small models that SentencePiece trains (byte-pair encoding), and what its own library makes of
many texts. `worker/engine/tests/sentencepiece.rs` compares.

    python make_sentencepiece.py
"""

import io
import json
import random
import re
from pathlib import Path

import sentencepiece

ROOT = Path(__file__).parent
CONTROL = ["<|im_start|>", "<|im_end|>"]
# Matched whole wherever a text has them.
OWN = ["<sep>", "[UNUSED_TOKEN_1]"]
TRAINED_ON = [
    "How many apples are left if Tom has 12 apples and eats 5 of them? He has 12 - 5 = 7 apples left.",
    "def mean(values):\n    total = 0\n    for value in values:\n        total += value\n    return total / len(values)\n",
    "Die Sonne scheint über den Bergen, und die Kinder spielen im Garten mit dem großen Ball.",
    "Les élèves étudient à l'école; où est la bibliothèque? Elle est là-bas, près du café.",
    "Поезд едет из Москвы в Казань со скоростью 80 километров в час.",
    "一个农场有三十只鸡和二十头牛，一共有多少只动物？",
    "りんごが三つとみかんが五つあります。全部でいくつですか。",
    "The area of a circle of radius $r$ is $\\pi r^2$; its circumference is $2\\pi r$. Therefore $\\frac{A}{C} = \\frac{r}{2}$.",
    "if (x > 0) { return x; } else { return -x; }        // absolute value\n\t\tprintf(\"%d\\n\", x);\n",
    "aaaa bbbb aaaa abab abab ababab ==== ---- .... ----====",
]
TEXTS = [
    "", " ", "  ", "   ", "a", " a", "a ", "  a  b   c ", "\n", "\n\n", " \n ", "\t", "\t\t x", "\r\n", "hello world", "Hello, World!",
    "What is 17 times 24? Let's think step by step.", "x²=½ don't I'LL", "    return total / len(values)\n\n\n", "1234567890",
    "▁", "▁▁a", "a▁b", "über", "e\u0301", "é", "ﬁ", "Ａ", "\u00a0", "\u3000", "\u200b", "\ufeff", "\ufffd", "\u0000", "a\u0000b", "\u0007",
    "😀", "👩‍👩‍👧‍👦", "🇩🇪🇫🇷", "a😀b", "😀 😀", "\U0010ffff", "नमस्ते", "สวัสดี", "مرحبا بالعالم", "שלום", "안녕하세요", "你好，世界", "三十只鸡",
    "Поезд", "поезд едет", "µ", "∑_{i=1}^{n} i^2 = \\frac{n(n+1)(2n+1)}{6}", "$\\pi r^2$", "<0x41>", "<0xFF>", "</s", "s>", "< s >",
    "aaaa", "aaaaa", "aaaaaa aaaaaaa", "abababab", "bababa", "========", "=====", "----====----", "......", "        ", "         x",
    "apples<sep>apples", "a<sep> b", "<sep", "x [UNUSED_TOKEN_1]y", "[UNUSED_TOKEN_2]", "a<sep><sep>b",
    "The quick brown fox jumps over the lazy dog. " * 5, "for i in range(10):\n    print(i)\n" * 4,
]


def random_texts():
    draw = random.Random(7)
    letters = "aab  \n=-.,<>▁0123456789eintrsuühoаые三个は$\\{}()_"
    wild = [chr(draw.choice([draw.randrange(0x20, 0x300), draw.randrange(0x370, 0x3000), draw.randrange(0x1f300, 0x1f700)])) for _ in range(400)]
    for index in range(160):
        pool = letters if index % 2 else wild + list(letters)
        yield "".join(draw.choice(pool) for _ in range(draw.randrange(1, 60)))
    for _ in range(40):
        yield "".join(draw.choice("ab") for _ in range(draw.randrange(1, 40)))


def train(name, **settings):
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TRAINED_ON * 3), model_writer=file, model_type="bpe", normalization_rule_name="identity",
        remove_extra_whitespaces=False, character_coverage=0.99, split_digits=True, allow_whitespace_only_pieces=True,
        num_threads=1, hard_vocab_limit=False, minloglevel=2, **settings)
    (ROOT / "fixtures" / "sentencepiece" / name).write_bytes(file.getvalue())
    return sentencepiece.SentencePieceProcessor(model_proto=file.getvalue())


def sections(processor, text):
    """A text with control tokens in it, as transformers' first tokenizer for such models reads it: each stretch between them is a text of
    its own to SentencePiece."""
    ids = []
    for part in re.split("(" + "|".join(map(re.escape, CONTROL + ["<s>", "</s>"])) + ")", text):
        known = processor.piece_to_id(part) if part in CONTROL + ["<s>", "</s>"] else None
        ids += [known] if known is not None else processor.encode(part)
    return ids


def main():
    (ROOT / "fixtures" / "sentencepiece").mkdir(exist_ok=True)
    texts = TEXTS + list(random_texts())
    bytewise = train("bytes.model", vocab_size=700, byte_fallback=True, control_symbols=CONTROL, user_defined_symbols=OWN)
    plain = train("plain.model", vocab_size=330, byte_fallback=False, add_dummy_prefix=False)
    conversation = "<s><|im_start|>user\nHow many apples? <sep><|im_end|>\n<|im_start|>assistant\n"
    kinds = [("is_unknown", 2), ("is_control", 3), ("is_unused", 5), ("is_byte", 6)]
    kind = lambda id: next((number for name, number in kinds if getattr(bytewise, name)(id)), 4 if bytewise.id_to_piece(id) in OWN else 1)
    expected = {
        "pieces": [[bytewise.id_to_piece(id), bytewise.get_score(id), kind(id)] for id in range(bytewise.vocab_size())],
        "bytes": [{"text": text, "ids": bytewise.encode(text), "decoded": bytewise.decode(bytewise.encode(text))} for text in texts],
        "plain": [{"text": text, "ids": plain.encode(text), "decoded": None} for text in texts],
        "decoded": [{"ids": ids, "text": bytewise.decode(ids)} for ids in byte_sequences(bytewise)],
        "conversation": {"text": conversation, "ids": sections(bytewise, conversation)},
    }
    lines = [f"{json.dumps(key)}: [\n" + ",\n".join(json.dumps(row, ensure_ascii=True) for row in rows) + "\n]"
             if isinstance(rows, list) else f"{json.dumps(key)}: {json.dumps(rows)}" for key, rows in expected.items()]
    (ROOT / "fixtures" / "sentencepiece" / "expected.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(len(texts), bytewise.vocab_size(), plain.vocab_size())


def byte_sequences(processor):
    """Bytes that are no text, as a model may draw them. Of a run with bytes that are text and others that are none, the library of
    tokenizers keeps nothing, SentencePiece the text: such runs are left out."""
    byte = lambda n: processor.piece_to_id(f"<0x{n:02X}>")
    word = processor.encode("apples")
    yield [byte(0xF0), byte(0x9F), byte(0x98), byte(0x80)]
    yield [byte(0xF0), byte(0x9F)]
    yield word + [byte(0xE4)] + word
    yield [byte(0xFF), byte(0x80)]
    yield word + [byte(0x0A)]


main()
