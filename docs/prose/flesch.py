"""The Flesch reading ease of Markdown: 206.835 - 1.015 words/sentence - 84.6 syllables/word; higher is easier.

Counted are the sentences of paragraphs, list items, quotes and table cells, without headings and code blocks. Fragments
of fewer than four words are left out. A word in code style, a number and a path are one word of one syllable.
"""

import re

MARKUP = (
    (r"(?<!`)(`+)(?!`)(?:(?!\n\n).)+?(?<!`)\1(?!`)", "code"),
    (r"<!--.*?-->", " "),
    (r"!\[[^\]]*\]\([^)]*\)", " "),  # images
    (r"\[([^\]]*)\]\([^)]*\)", r"\1"),  # links keep their text
    (r"https?://\S+", "link"),
    (r"\*+|(?<!\w)_+|_+(?!\w)", ""),
    (r"<[a-zA-Z/][^>\n]*>", " "),
)
ABBREVIATIONS = re.compile(r"\b(e\.g|i\.e|etc|vs|cf)\.", re.IGNORECASE)
BLOCK = re.compile(r"^\s*(?:[-*+]|\d+[.)])\s+|^\s*>\s?")
SHORTEST = 4  # words of what counts as a sentence


def reading_ease(markdown: str) -> float:
    """Return the Flesch reading ease of a page, to one decimal; 100 for a page without a sentence."""
    sentences = [words for text in _blocks(markdown) for words in _sentences(text) if len(words) >= SHORTEST]
    words = sum(len(sentence) for sentence in sentences)
    if not words:
        return 100.0
    syllables = sum(_syllables(word) for sentence in sentences for word in sentence)
    return round(206.835 - 1.015 * words / len(sentences) - 84.6 * syllables / words, 1)


def _blocks(markdown: str) -> list[str]:
    """Return paragraphs, list items and table cells, each on one line and without markup."""
    text = re.sub(r"^( *)(```|~~~).*?^ *\2 *$", "", markdown, flags=re.DOTALL | re.MULTILINE)
    for pattern, replacement in MARKUP:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    blocks = [""]
    for line in text.split("\n"):
        if line.lstrip().startswith("|"):
            blocks += [*line.strip().strip("|").split("|"), ""]
        elif not line.strip() or line.startswith("#"):
            blocks.append("")
        elif BLOCK.match(line):
            blocks.append(BLOCK.sub("", line))
        else:
            blocks[-1] += " " + line
    return blocks


def _sentences(block: str) -> list[list[str]]:
    plain = ABBREVIATIONS.sub(lambda found: found[0].replace(".", ""), block)
    return [re.findall(r"\w[\w'.,/%-]*", part) for part in re.split(r"(?<=[.!?])[\"')”]*\s+", plain)]


def _syllables(word: str) -> int:
    """Count groups of vowels, without a final silent e; 1 for what is not a plain word."""
    letters = word.strip(".,'-%").lower()
    if not re.fullmatch(r"[a-z'-]+", letters):
        return 1
    return sum(_syllables_of_part(part) for part in re.split(r"['-]", letters) if part) or 1


def _syllables_of_part(letters: str) -> int:
    stem = re.sub(r"(?<=[^aeiouyl])es?$|(?<=[aeiouy]l)es?$|(?<=[^aeiouydt])ed$", "", letters)
    return max(1, len(re.findall(r"[aeiouy]+", stem)))
