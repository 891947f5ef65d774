"""A teacher cache that another program writes, with plain h5py and its defaults, is read as ours is."""

import h5py
import numpy

from harness import Test, lapidary, metrics, unittest


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
        _, kl = self.train(self.write_plainly("reversed", order=numpy.arange(7, -1, -1)), None)
        ours = [line["kl"] for line in metrics(self.workspace / "ours")]
        for found, expected in zip(kl, ours, strict=True):
            self.assertAlmostEqual(found, expected, delta=1e-4 * abs(expected))


    # --- what h5py can be told to write ---

    def inspect(self, change):
        """`inspect --check` of a file whose arrays and attributes `change(file, arrays)` writes."""
        source, path = sorted((self.workspace / "cache").glob("*.h5"))[0], self.workspace / "one.h5"
        with h5py.File(source) as ours, h5py.File(path, "w") as file:
            for name, value in ours.attrs.items():
                if name != "rows_sha256":  # of the values as they were
                    file.attrs[name] = value
            change(file, {name: ours[name][...] for name in ("ids", "logprob", "tail_mass")})
        return lapidary("inspect", path, "--tokens", self.workspace / "tokens/*/*.h5", "--check")

    def test_every_layout_of_the_open_schema_is_read(self):
        def write(file, arrays, **options):
            for name, array in arrays.items():
                file.create_dataset(name, data=array, **options)

        def of_types(integer, real):
            return lambda file, a: write(file, {
                "ids": a["ids"].astype(integer), "logprob": a["logprob"].astype(real),
                "tail_mass": a["tail_mass"].astype(real)})

        def stored(**options):
            return lambda file, a: write(file, a, **options)

        def attribute(name, value):
            def change(file, arrays):
                write(file, arrays)
                del file.attrs[name]
                file.attrs[name] = value
            return change

        def more(file, a):
            write(file, {**a, "notes": numpy.arange(4), "next_logprob": 0 * a["tail_mass"] - 1,
                         "entropy": a["tail_mass"].astype("f2")})
            file.attrs["made"], file.attrs["list"] = "by hand", [1, 2, 3]
            file.create_group("group")["x"] = 1
            file["soft"] = h5py.SoftLink("/ids")

        def unused(file, a):
            """Two slots that are not used, whatever their ids; rows that are not counted hold
            anything."""
            rows, uncounted = len(a["ids"]), numpy.isinf(a["logprob"]).all(axis=1)
            ids = numpy.hstack([a["ids"].astype("i8"), numpy.full((rows, 2), -1)])
            logprob = numpy.hstack([a["logprob"].astype("f4"), numpy.full((rows, 2), -numpy.inf)])
            tail_mass = a["tail_mass"].copy()
            ids[uncounted], logprob[uncounted], tail_mass[uncounted] = -99, numpy.nan, 77
            self.assertTrue(uncounted.any())
            write(file, {"ids": ids, "logprob": logprob, "tail_mass": tail_mass})
            file.attrs["k"] = ids.shape[1]

        def everything(file, a):
            rows, vocabulary = len(a["ids"]), int(file.attrs["vocab_size"])
            logprob = numpy.full((rows, vocabulary), -numpy.inf)
            numpy.put_along_axis(logprob, a["ids"].astype("i8"), a["logprob"].astype("f8"), 1)
            ids = numpy.tile(numpy.arange(vocabulary), (rows, 1))
            write(file, {"ids": ids, "logprob": logprob, "tail_mass": a["tail_mass"]})
            file.attrs["k"] = vocabulary

        def one(file, a):
            ids, logprob = a["ids"][:, :1], a["logprob"][:, :1]
            rest = 1 - numpy.exp(logprob[:, 0].astype("f8"))
            write(file, {"ids": ids, "logprob": logprob, "tail_mass": rest})
            file.attrs["k"] = 1

        cases = {f"ids {i}, floats {r}": of_types(i, r) for i, r in
                 (("i2", "f2"), (">u2", ">f2"), ("u4", "f4"), (">i4", ">f4"), ("u8", "f8"),
                  (">i8", ">f8"), ("i8", "g"))}
        cases.update({
            "gzip": stored(compression="gzip"), "szip": stored(compression="szip"),
            "chunked": stored(chunks=True), "fletcher32": stored(fletcher32=True),
            "more than is needed": more, "unused slots": unused, "K = V": everything, "K = 1": one,
            "a padded string": attribute("format", numpy.array(b"lapidary-teacher", "S40")),
            "a list of one string": attribute("format", ["lapidary-teacher"]),
            "a bool": attribute("document_mask", True),
            "a list of one integer": attribute("k", numpy.array([8], ">i2")),
            "another alphabet": attribute("teacher", "учитель 老师")})
        for name, change in cases.items():
            with self.subTest(name):
                self.assert_exit(self.inspect(change), 0)

    def test_what_is_not_in_the_file_is_refused(self):
        def instead(name, make):
            def change(file, arrays):
                for other, array in arrays.items():
                    file["kept" if other == name else other] = array
                make(file, arrays[name])
            return change

        def virtual(file, array):
            layout = h5py.VirtualLayout(array.shape, array.dtype)
            layout[...] = h5py.VirtualSource(file["kept"])
            file.create_virtual_dataset("ids", layout)

        def variable(file, array):
            file.create_dataset("ids", (len(array),), h5py.vlen_dtype("i4"))[0] = array[0]

        def lzf(file, array):
            file.create_dataset("logprob", data=array, compression="lzf")

        outside = str(self.workspace / "outside.bin")
        cases = [
            ("soft or external link", "ids", lambda f, a: f.update(ids=h5py.SoftLink("/kept"))),
            ("soft or external link", "tail_mass",
             lambda f, a: f.update(tail_mass=h5py.ExternalLink("other.h5", "/tail_mass"))),
            ("outside of the file", "ids", virtual),
            ("outside of the file", "ids",
             lambda f, a: f.create_dataset("ids", data=a, external=outside)),
            ("plain integer", "ids", variable),
            ("plain integer", "ids", lambda f, a: f.update(ids=a.astype("f4"))),
            ("plain float", "tail_mass", lambda f, a: f.update(tail_mass=a.astype("i4"))),
            ("as many rows as ids", "tail_mass", lambda f, a: f.update(tail_mass=a[:-1])),
            ("1 dimension", "tail_mass", lambda f, a: f.update(tail_mass=a[:, None])),
            ("filter 32000 (lzf)", "logprob", lzf)]
        for message, name, make in cases:
            with self.subTest(message):
                result = self.inspect(instead(name, make))
                print(result.err.strip())
                self.assert_exit(result, 3)
                self.assertIn(message, result.err)
                self.assertIn(name, result.err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
