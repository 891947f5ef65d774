"""The pages of the tree (README, CONTRIBUTING, docs/) and what points to them: links, anchors and file names hold."""

import itertools
import os
import pathlib
import re
import unittest

SOURCE = pathlib.Path(__file__).resolve().parents[1]
ROOMS = ("core", "autograd", "mpi", "dataset", "teacher", "trainer")
FOLDERS = ROOMS + ("configs", "scripts", "tests", "docs", ".ci")
# A file that pages name because it must not exist.
FORBIDDEN = {"mpi/mpi.h"}

FENCE = re.compile(r"^(```|~~~)")
HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
HTML_LINK = re.compile(r'()\b(?:src|href)="([^"]+)"')
CODE = re.compile(r"`((?:[^`\n]|\n(?!\n))+)`")
# How code and prose point to a page, and how they name another file.
POINTER = re.compile(r"\bdocs/([\w/-]+\.md)(#[\w-]+)?")
FILE = re.compile(r"(?<![\w/.-])(?:" + "|".join(ROOMS + ("configs", "scripts", "tests")) +
                  r")/[\w/-]+\.(?:h|c|cc|py|yaml|txt|sbatch)\b")


def pages():
    yield from sorted(SOURCE.glob("*.md"))
    for folder in FOLDERS:
        yield from sorted((SOURCE / folder).rglob("*.md"))


def texts():
    """Every text file of the tree with its content."""
    files = [p for p in SOURCE.iterdir() if p.is_file()]
    for folder in FOLDERS:
        files += (p for p in (SOURCE / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    for path in sorted(files):
        try:
            yield path, path.read_text()
        except UnicodeDecodeError:
            pass


def split(page):
    """A page without its code blocks, and these alone; both keep the line numbers of the page."""
    prose, code, fenced, before = [], [], False, ""
    for line in page.splitlines():
        fence = FENCE.match(line)
        if fence:
            fenced = not fenced
        indented = line.startswith("    ") and (not before.strip() or code[-1])
        is_code = not fence and (fenced or indented)
        prose.append("" if fence or is_code else line)
        code.append(line if is_code else "")
        before = line
    return "\n".join(prose), "\n".join(code)


def anchors(page):
    """The anchors of a page's headings, by the rules of GitHub."""
    found, seen = set(), {}
    for heading in HEADING.finditer(split(page)[0]):
        title = LINK.sub(r"\1", heading.group(1)).lower()
        slug = re.sub(r"[^\w\- ]", "", title).replace(" ", "-")
        count = seen.get(slug, 0)
        seen[slug] = count + 1
        found.add(f"{slug}-{count}" if count else slug)
    return found


def alternatives(pattern):
    """a-{b,c}.yaml as a-b.yaml and a-c.yaml."""
    parts = re.split(r"\{([^}]*)\}", pattern)
    choices = [part.split(",") if i % 2 else [part] for i, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def paths_in(text):
    """The words of a piece of code that look like paths of the tree."""
    for word in re.split(r"[\s'\"=();]+", text):
        word = word.partition("#")[0].rstrip(".,:")
        if word.startswith(tuple(f"{folder}/" for folder in FOLDERS)):
            yield from alternatives(word)


def exists(path):
    return path in FORBIDDEN or any(SOURCE.glob(path.rstrip("/")))


def matches(pattern, path, text):
    """(FILE:LINE, match) for each match in the text of the file."""
    for match in pattern.finditer(text):
        yield f"{path.relative_to(SOURCE)}:{text.count(chr(10), 0, match.start()) + 1}", match


def unresolved(where, page, anchor):
    """What is wrong with a reference to a page, or to one of its headings: at most one line."""
    name = os.path.relpath(page, SOURCE)
    if not page.exists():
        return [f"{where}: there is no {name}"]
    if anchor and anchor not in anchors(page.read_text()):
        return [f"{where}: {name} has no heading for the anchor #{anchor}"]
    return []


class Docs(unittest.TestCase):
    def assert_none(self, problems):
        if problems:
            self.fail("\n" + "\n".join(problems))

    def test_anchors_are_those_of_github(self):
        page = "# A `b_c` page!\n```\n# not one\n```\n## Twice\n\n    # nor this\n\n## Twice\n### See [it](x.md) #\n"
        self.assertEqual(anchors(page), {"a-b_c-page", "twice", "twice-1", "see-it"})

    def test_paths_are_found_in_code(self):
        code = "scripts/test --x; a/core/b '../core' 'configs/{bench,mesh}/*.yaml', mpi/tree#c"
        self.assertEqual(list(paths_in(code)),
                         ["scripts/test", "configs/bench/*.yaml", "configs/mesh/*.yaml", "mpi/tree"])

    def test_pointers_to_pages_resolve(self):
        problems = []
        for path, text in texts():
            for where, pointer in matches(POINTER, path, text):
                page, anchor = pointer.groups(default="")
                problems += unresolved(where, SOURCE / "docs" / page, anchor[1:])
        self.assert_none(problems)

    def test_the_contract_is_pointed_to_by_heading(self):
        old = re.compile(r"\bDESIG[N]\b")  # its name before it came into the tree; its sections had numbers
        self.assert_none([f"{where}: write docs/design.md#... with the anchor of a heading"
                          for path, text in texts() for where, _ in matches(old, path, text)])

    def test_links_resolve(self):
        problems = []
        for page in pages():
            prose = CODE.sub("", split(page.read_text())[0])
            for where, link in itertools.chain(matches(LINK, page, prose), matches(HTML_LINK, page, prose)):
                target, _, anchor = link.group(2).partition("#")
                if not re.match(r"[a-z]+:", target):
                    problems += unresolved(where, page.parent / target if target else page, anchor)
        self.assert_none(problems)

    def test_paths_named_in_pages_exist(self):
        problems = []
        for page in pages():
            prose, code = split(page.read_text())
            for where, piece in itertools.chain(matches(CODE, page, prose), matches(re.compile("(.+)"), page, code)):
                problems += [f"{where}: there is no {path}" for path in paths_in(piece.group(1)) if not exists(path)]
        self.assert_none(problems)

    def test_files_named_in_sources_exist(self):
        self.assert_none([f"{where}: there is no {name.group(0)}" for path, text in texts()
                          for where, name in matches(FILE, path, text) if not exists(name.group(0))])


if __name__ == "__main__":
    unittest.main()
