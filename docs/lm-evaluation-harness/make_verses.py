"""Makes verses.jsonl: which of four endings belongs to the beginning of a verse? The verses are
those of chapters that `tokenize --holdout` kept from training; wrong endings are other verses'.

usage: make_verses.py EXPORT 'TOKENS/eval/*.h5' > verses.jsonl
"""

import glob
import itertools
import json
import random
import sys

import h5py
import transformers

ITEMS, CHOICES, SHORTEST = 200, 4, 12


def held_out_verses(tokenizer, pattern):
    for path in sorted(glob.glob(pattern)):
        with h5py.File(path) as file:
            tokens, starts = file["tokens"][...], file["documents"][...]
        for begin, end in itertools.pairwise(starts):
            chapter = tokenizer.decode(tokens[begin:end], skip_special_tokens=True)
            yield from (verse for verse in chapter.split("\n") if verse.count(" ") >= SHORTEST)


def cut(verse):
    """The beginning, and the rest with the space before it."""
    words = verse.split(" ")
    half = len(words) // 2
    return " ".join(words[:half]), " " + " ".join(words[half:])


def main():
    export, pattern = sys.argv[1:]
    tokenizer = transformers.AutoTokenizer.from_pretrained(export)
    verses = [cut(verse) for verse in held_out_verses(tokenizer, pattern)]
    chance = random.Random(1)
    for beginning, ending in chance.sample(verses, ITEMS):
        others = [other for _, other in verses if other != ending]
        choices = chance.sample(sorted(set(others)), CHOICES - 1) + [ending]
        chance.shuffle(choices)
        print(json.dumps({"beginning": beginning, "choices": choices,
                          "answer": choices.index(ending)}, ensure_ascii=False))


if __name__ == "__main__":
    main()
