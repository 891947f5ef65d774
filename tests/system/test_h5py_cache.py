"""A teacher cache that another program writes, with plain h5py and its defaults, is read as ours is."""

import h5py
import numpy

from harness import Test, metrics, unittest


def rewrite_plainly(source, target, order=None):
    """The same cache with int64 ids, float64 numbers, variable-length strings, contiguous and without
    checksums: what h5py does unless told otherwise. `order` permutes the slots of a row."""
    with h5py.File(source) as ours, h5py.File(target, "w") as plain:
        for name, value in ours.attrs.items():
            plain.attrs[name] = value if numpy.isscalar(value) else str(value)
        slots = order if order is not None else slice(None)
        plain["ids"] = ours["ids"][...].astype("i8")[:, slots]
        plain["logprob"] = ours["logprob"][...].astype("f8")[:, slots]
        plain["tail_mass"] = ours["tail_mass"][...].astype("f8")


class H5pyCache(Test):
    @classmethod
    def make(cls, workspace):
        workspace.make_tokens()
        workspace.make_teacher()
        cls.config = workspace.config("student.yaml", workspace / "unused", steps=15,
                                      cache=workspace / "cache/*.h5")
        cls.ours = workspace.train(cls.config, workspace / "ours").json["state_sha256"]

    def write_plainly(self, name, order=None):
        directory = self.workspace / name
        directory.mkdir()
        for path in (self.workspace / "cache").glob("*.h5"):
            rewrite_plainly(path, directory / path.name, order)
        with h5py.File(directory / path.name) as plain:
            self.assertEqual(str(plain["ids"].dtype), "int64")
            self.assertEqual(str(plain["logprob"].dtype), "float64")
            self.assertIsNone(plain["ids"].chunks)
            self.assertNotIn("entropy", plain)
        return directory

    def train(self, cache, ranks):
        run_dir = self.workspace / f"{cache.name}-run"
        report = self.workspace.train(self.config, run_dir, f"teacher.cache={cache}/*.h5",
                                      ranks=ranks).json
        print(f"{cache.name}: state_sha256 {report['state_sha256'][:16]}, ours {self.ours[:16]}")
        return report["state_sha256"], [line["kl"] for line in metrics(run_dir)]

    def test_the_same_values_train_to_the_same_state(self):
        state, kl = self.train(self.write_plainly("plain"), ranks=2)
        self.assertEqual(state, self.ours)
        self.assertEqual(kl, [line["kl"] for line in metrics(self.workspace / "ours")])

    def test_the_order_of_a_row_does_not_matter(self):
        """But for the rounding of sums."""
        state, kl = self.train(self.write_plainly("reversed", order=numpy.arange(7, -1, -1)), None)
        for found, expected in zip(kl, (line["kl"] for line in metrics(self.workspace / "ours"))):
            self.assertAlmostEqual(found, expected, delta=1e-4 * abs(expected))


if __name__ == "__main__":
    unittest.main(verbosity=2)
