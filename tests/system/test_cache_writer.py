"""The cache writer that docs/formats.md shows works as it stands there: its code is taken from that page."""

import h5py
import numpy

from harness import SEQUENCE_LENGTH, SOURCE, Test, metrics, unittest


def writer():
    """write_cache of the page's Python block."""
    page = SOURCE / "docs/formats.md"
    text = page.read_text()
    block = text.split("```python\n", 1)[1].split("```", 1)[0]
    names = {}
    exec(compile(block, str(page), "exec"), names)
    return names["write_cache"]


class CacheWriter(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()

    def bigrams(self, paths):
        """What follows a token in these shards: a teacher that needs no framework."""
        with h5py.File(paths[0]) as shard:
            counts = numpy.full((int(shard.attrs["vocab_size"]),) * 2, 0.01)
        for path in paths:
            with h5py.File(path) as shard:
                tokens = shard["tokens"][:].astype(int)
            numpy.add.at(counts, (tokens[:-1], tokens[1:]), 1)
        return numpy.log(counts / counts.sum(axis=1, keepdims=True))

    def test_its_cache_is_read_and_learned_from(self):
        paths = sorted((self.workspace / "tokens/train").glob("*.h5"))
        table = self.bigrams(paths)
        seen = []

        def log_probabilities(inputs, first):
            seen.append((list(inputs), list(first)))
            return table[inputs].copy()

        cache = self.workspace / "written"
        cache.mkdir()
        for path in paths:
            writer()(path, cache / path.name, log_probabilities, 8, SEQUENCE_LENGTH, "bigrams")
        for inputs, first in seen:  # docs/design.md#windows: the prefix is alone in front of a BOS
            self.assertEqual(inputs[0], 2)
            self.assertEqual(first[1], 1 if inputs[1] == 2 else 0)
            for i in range(2, len(first)):
                self.assertEqual(first[i], i if inputs[i] == 2 else first[i - 1])
        config = self.workspace.config("student.yaml", self.workspace / "unused", steps=15,
                                       cache=cache / "*.h5")
        self.workspace.train(config, self.workspace / "run", ranks=2)
        kl = [line["kl"] for line in metrics(self.workspace / "run")]
        print(f"kl to the bigrams: {kl[0]:.4f} at step 1, {kl[-1]:.4f} at step {len(kl)}")
        self.assertLess(kl[-1], kl[0] - 0.1)

    def test_the_four_tokens_of_the_page(self):
        path = self.workspace / "four.h5"
        with h5py.File(path, "w") as shard:
            shard["tokens"], shard["documents"] = numpy.array([2, 5, 7, 1]), numpy.array([0, 4])
            shard.attrs.update(vocab_size=10, tokenizer_sha256="0" * 64)
        follow = {2: 5, 5: 7, 7: 1}

        def log_probabilities(inputs, first):
            self.assertEqual((list(inputs), list(first)), ([2, 2, 5, 7, 1], [0, 1, 1, 1, 1]))
            p = numpy.full((len(inputs), 10), 0.02)
            for i, token in enumerate(inputs):
                p[i, follow.get(token, 0)] = 0.82
            return numpy.log(p)

        writer()(path, self.workspace / "four.cache.h5", log_probabilities, 3, 5, "by hand")
        with h5py.File(self.workspace / "four.cache.h5") as cache:
            self.assertEqual(list(cache["ids"][:3, 0]), [5, 7, 1])
            self.assertTrue(numpy.allclose(cache["tail_mass"][:3], 0.14))


if __name__ == "__main__":
    unittest.main(verbosity=2)
