"""luna report: one page that holds the whole line, works offline in a real browser, and shows hostile text as text."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from conftest import Repo, shipped
from hypothesis import given
from hypothesis import strategies as st

from luna.forensics.report.prose import as_html

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror=window.hacked=2> [x](javascript:window.hacked=3) ![y](https://example.com/y.png)"
CHARTS = 8


class Elements(HTMLParser):
    """Names and attributes of all elements that a browser would make."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]


def embedded(page: Path) -> dict:
    return json.loads(
        re.search(
            r'<script type="application/json" id="data">(.*?)</script>',
            page.read_text(encoding="utf-8"),
            re.DOTALL,
        )[1]
    )


@pytest.fixture(scope="module")
def hostile(line, module_folder) -> Repo:
    """The line with a rollback whose reason, and a newest generation whose documents, are an attacker's."""
    mine = line.copy(module_folder / "mine")
    metrics = json.loads((mine.path / "models/metrics.json").read_text())
    metrics["decision"]["notes"] = HOSTILE
    metrics["evaluation"]["recall"] = "0.99"
    metrics["training"]["steps"] = 10**400
    row = json.loads((mine.path / "models/answers.jsonl").read_text().splitlines()[0])
    row["messages"][-1][1] = HOSTILE
    # Before the forging: no head moves on a line whose tags are not what the record says.
    mine.luna("rollback", "1", "--reason", HOSTILE, "--stay")
    mine.forge(
        {
            "models/metrics.json": json.dumps(metrics),
            "models/EVAL.md": evaluation_of(row),
            "models/train_args.json": "{",
            "models/hashes.csv": 'path,bytes,sha256\nx,y\n"',
            "models/MODEL_CARD.md": f"---\nbase_model: {HOSTILE}\n---\n# Card\n\n{HOSTILE}\n\n<iframe src='https://example.com'></iframe>\n",
            "models/recall_matrix.csv": "not,a\nmatrix\n",
            "models/loss/plots/metrics/train/loss.tsv": "step\tloss\n1\tinf\n2\tx\n3\t1.5\n",
        }
    )
    mine.luna("report", "-o", "hostile.html")
    return mine


def evaluation_of(row: dict) -> str:
    """EVAL.md as the promote stage writes it, with the row's question among the worst answers."""
    from luna.promotion import maturity, reports, rule

    score = {"value": 0.0, "n": 20, "low": 0.0, "high": 0.2}
    decision = rule.decide(
        {"recall": score, "generalisation": score, "tone_drift": score}, shipped("promotion"), False
    )
    metrics = {
        "generation": {"id": 3, "parent": 1},
        "data": {"new_conversations": 1, "replay_samples": 1},
        "training": {"walltime_minutes": 1.0, "steps": 1},
        "evaluation": {
            "intervals": dict.fromkeys(("recall", "generalisation", "tone_drift"), score),
            "recall_new": 0.0,
            "recall_old": 0.0,
            "backward_transfer": 0.0,
        },
        "evolution": {
            "changed_layers": 1,
            "total_layers": 2,
            "weight_change_percent": 50.0,
            "threshold": 0.01,
        },
        "decision": {"promoted_to_head": False, "notes": ""},
    }
    fidelity = {"agreement": 1.0}
    return reports.evaluation(
        metrics,
        decision,
        [row | {"correct": False}],
        None,
        {"fidelity_16_bit": fidelity, "fidelity_quantised": fidelity},
        maturity.judge([], shipped("maturity")),
    )


def test_page_holds_the_whole_line(line, tmp_path):
    done = line.json("report", "-o", str(tmp_path / "page.html"))
    assert (done["generations"], done["marked"]) == (4, 0)
    data = embedded(tmp_path / "page.html")
    rows = line.json("log")
    assert [
        (item["gen"], item["name"], item["parent"], item["state"]) for item in data["generations"]
    ] == [(row["gen"], row["name"], row["parent"], row["state"]) for row in rows]
    newest = data["generations"][3]
    metrics = json.loads((line.path / "models/metrics.json").read_text())
    assert newest["scores"]["recall"] == {
        "value": metrics["evaluation"]["recall"],
        "bound": 0.0,
        "text": {"value": "0.000", "low": "0.000", "high": "0.176", "bound": "0.000"},
    } | {key: metrics["evaluation"]["intervals"]["recall"][key] for key in ("low", "high", "n")}
    assert data["generations"][2]["scores"]["recall"]["bound"] == 0.9  # the rule of that day
    assert [
        "models/model.gguf",
        (line.path / "models/model.gguf").stat().st_size,
        rows[3]["weights_sha256"],
    ] in newest["files"]
    assert (
        newest["storage"]["new"] < newest["storage"]["own"]
        and len(newest["loss"]) == 4
        and "Known Issues" in newest["card"]
    )
    assert {cell[0] for cell in data["weights"]} == {1, 2, 3} and data["matrix"] == [
        [1, 1, 0, 12],
        [3, 1, 0, 12],
        [3, 3, 0, 6],
    ]
    assert [move["generation"] for move in data["moves"]] == [
        move["generation"] for move in line.json("log", "--head")
    ]


def test_the_same_line_gives_the_same_page(line, tmp_path):
    for name in ("one.html", "two.html"):
        line.luna("report", "--output", str(tmp_path / name))
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


def test_nothing_on_the_page_leads_elsewhere(hostile):
    text = (hostile.path / "hostile.html").read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1]
    assert (
        "default-src &#x27;none&#x27;" in policy
        and "unsafe-inline" not in policy.split("style-src")[0]
    )
    found = Elements()
    found.feed(text)
    assert found.names.count("script") == 4, "two of data, Vega, and the page's own"
    assert not {"link", "iframe", "object", "embed", "base", "img", "image", "use"} & set(
        found.names
    )
    for name, value in found.attributes:
        assert name not in ("src", "srcset", "action", "data") and not name.startswith("on"), (
            name,
            value,
        )
        assert name not in ("href", "xlink:href") or value.startswith("#"), value
    assert not re.search(r"url\(|@import", re.search(r"<style>(.*?)</style>", text, re.DOTALL)[1])


def test_what_cannot_be_read_is_marked_and_gives_no_number(hostile):
    data = embedded(hostile.path / "hostile.html")
    newest = data["generations"][3]
    assert newest["marks"] == ["models/train_args.json is missing or cannot be read"]
    assert (
        newest["scores"]["recall"]["value"] is None
        and newest["training"]["steps"] is None
        and newest["loss"] == [[3, 1.5]]
        and newest["files"] == []
    )
    assert data["generations"][1]["marks"] == []


def test_report_refuses_what_it_cannot_do(fresh, line, tmp_path):
    before = line.snapshot()
    assert "is a folder" in line.luna("report", "-o", str(tmp_path), code=2).stderr
    assert (
        "no folder"
        in line.luna("report", "-o", str(tmp_path / "none" / "page.html"), code=2).stderr
    )
    assert line.snapshot() == before
    assert "luna evolve" in fresh.luna("report", "-o", str(tmp_path / "page.html"), code=2).stderr


ALLOWED = re.compile(
    r"""</?(?:p|h[3-6]|ul|ol|li|em|strong|pre|table|thead|tbody|tr|blockquote)>|<(?:br|hr) ?/?>|<ol start="\d+">|</?code>|<code class="language-[^"<>]*">|</?t[hd]>|<t[hd] style="text-align:(?:left|right|center)">"""
)


@given(
    st.text(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                "<",
                ">",
                "script",
                "img src=x onerror=y",
                "](",
                "[",
                "!",
                "`",
                "\n",
                "|",
                "&lt;",
                "javascript:",
                "http://x",
                "---\n",
                "- ",
                "&#60;",
                '"',
            ]
        ),
        max_size=25,
    ).map("".join)
)
def test_prose_has_no_tags_but_those_of_prose(text):
    assert not re.findall(r"[<>]", ALLOWED.sub("", as_html(text)))


# -- in a real browser


def opened(browser, path: Path, **options):
    """The page, drawn, in a browser that has no network; what it asked for and complained of."""
    context = browser.new_context(offline=True, **options)
    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: asked.append(f"error: {error}"))
    page.on("console", lambda message: asked.append(f"console: {message.text}"))
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-drawn]")
    assert asked == [path.as_uri()]
    return page, asked


def test_a_person_clicks_through_the_page(browser, line, tmp_path):
    path = tmp_path / "page.html"
    line.luna("report", "-o", str(path))
    page, asked = opened(browser, path, viewport={"width": 1280, "height": 900})
    rows = line.json("log")
    detail = page.locator("#detail")
    assert detail.locator("h3").first.inner_text() == rows[3]["name"]
    assert page.locator("figure svg.marks").count() == CHARTS
    page.get_by_role("option", name="G002 denied child of G001").click()
    assert (
        detail.locator("h3").first.inner_text() == rows[2]["name"]
        and "denied" in detail.inner_text()
        and "at least 0.900" in detail.inner_text()
    )
    page.keyboard.press("ArrowDown")
    page.get_by_role("listbox").focus()
    page.keyboard.press("End")
    assert detail.locator("h3").first.inner_text() == rows[0]["name"]
    page.keyboard.press("ArrowUp")
    assert detail.locator("h3").first.inner_text() == rows[1]["name"]
    assert page.locator('#generations > [aria-selected="true"]').get_attribute("data-gen") == "1"
    assert page.get_by_role("listbox").get_attribute("aria-activedescendant") == "row-1"
    detail.get_by_text("Files and hashes").click()
    assert rows[1]["weights_sha256"] in detail.inner_text()
    detail.get_by_role("button", name="G000").click()
    assert detail.locator("h3").first.inner_text() == rows[0]["name"]
    page.get_by_label("Go to").fill("G003")
    page.get_by_role("button", name="Show").click()
    assert detail.locator("h3").first.inner_text() == rows[3]["name"]
    page.get_by_label("Go to").fill("77")
    page.get_by_role("button", name="Show").click()
    assert detail.locator("h3").first.inner_text() == rows[3]["name"]
    figure = page.locator('figure[data-chart="score-recall"]')
    figure.locator("summary").click()
    figure.locator("tbody tr").nth(3).wait_for()
    assert figure.locator("tbody tr").count() == 4
    drawn = page.evaluate("document.documentElement.dataset.drawn")
    light = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    for _ in range(2):
        page.get_by_role("button", name="Theme").click()
    page.wait_for_function(
        "before => Number(document.documentElement.dataset.drawn) >= Number(before) + 2", arg=drawn
    )
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") != light
    assert page.locator("figure svg.marks").count() == CHARTS
    assert asked == [path.as_uri()]


def test_a_link_leads_to_a_generation_and_back_leads_back(browser, line, tmp_path):
    path = tmp_path / "page.html"
    line.luna("report", "-o", str(path))
    page, _ = opened(browser, path)
    title = page.locator("#detail h3").first
    page.get_by_role("option", name="G001 promoted").click()
    page.get_by_role("option", name="G002 denied").click()
    assert page.url.endswith("#G002")
    page.locator("#detail").get_by_role("button", name="G001").click()
    assert page.url.endswith("#G001") and "G001" in title.inner_text()
    page.get_by_role("listbox").focus()
    for _ in range(2):
        page.keyboard.press("ArrowUp")
    assert page.url.endswith("#G003")
    page.go_back()
    assert page.url.endswith("#G002") and "G002" in title.inner_text()
    page.go_back()
    page.go_back()
    assert page.url == path.as_uri() and "G003" in title.inner_text()
    page.go_forward()
    assert "G001" in title.inner_text()
    page.get_by_role("link", name="Scores").click()
    assert "G001" in title.inner_text()
    page.goto(f"{path.as_uri()}#g2")
    page.wait_for_function("document.querySelector('#detail h3').textContent.includes('G002')")
    page.close()
    other, _ = opened(browser, path)
    other.goto(f"{path.as_uri()}#G0001")
    other.reload()
    other.wait_for_selector("html[data-drawn]")
    assert "G001" in other.locator("#detail h3").first.inner_text()


def test_the_list_is_filtered_and_sorted(browser, line, tmp_path):
    path = tmp_path / "page.html"
    line.luna("report", "-o", str(path))
    page, asked = opened(browser, path)
    rows = page.locator('[role="option"]:visible')

    def listed() -> list[str]:
        return [row.split()[0] for row in rows.all_inner_texts()]

    drawing = page.locator(".canvas > svg")
    assert listed() == ["G003", "G002", "G001", "G000"] and drawing.is_visible()
    page.get_by_label("Show", exact=True).select_option("denied")
    assert listed() == ["G002"] and not drawing.is_visible()
    assert page.locator("#count").inner_text() == "1 of 4 generations"
    page.get_by_label("Show", exact=True).select_option("promoted")
    assert listed() == ["G003", "G001"]
    page.get_by_label("Show", exact=True).select_option("")
    page.get_by_label("Order").select_option("tone_drift")
    scores = {item["short"]: item["scores"]["tone_drift"] for item in embedded(path)["generations"]}
    assert listed() == sorted(scores, key=lambda short: (scores[short]["value"], -int(short[1:])))
    figures = page.locator('[role="option"] .figure').all_inner_texts()
    assert figures == [scores[short]["text"]["value"] for short in listed()]
    page.get_by_role("listbox").focus()
    page.keyboard.press("Home")
    assert listed()[0] in page.locator("#detail h3").first.inner_text()
    page.get_by_label("Order").select_option("")
    page.get_by_label("With the text").fill("g002")
    assert "G002" in listed() and len(listed()) < 4
    page.get_by_label("With the text").press("Enter")
    page.get_by_label("With the text").fill("no such words anywhere")
    assert listed() == []
    page.get_by_label("With the text").fill("")
    assert listed() == ["G003", "G002", "G001", "G000"] and drawing.is_visible()
    assert asked == [path.as_uri()]


def test_two_generations_have_two_ticks(browser, line, tmp_path):
    from luna.forensics.report import collect, page
    from luna.history.line import read_line

    data = collect.collect(read_line(line.path, "Luna"))
    data["generations"] = data["generations"][:2]
    data["head"] = 1
    for key in ("matrix", "weights"):
        data[key] = [cell for cell in data[key] if cell[0] < 2]
    path = tmp_path / "two.html"
    path.write_text(page.render(data), encoding="utf-8")
    shown, _ = opened(browser, path, viewport={"width": 1280, "height": 900})
    for name in ("score-recall", "score-tone_drift", "storage"):
        ticks = shown.locator(f'figure[data-chart="{name}"] .role-axis-label').first.locator("text")
        assert ticks.all_text_contents() == ["0", "1"], name


def test_a_score_has_one_spelling_and_one_rounding(line, tmp_path):
    """In the ledger's table, EVAL.md, the cards, the report and the comparison."""
    from luna import scores

    path = tmp_path / "page.html"
    line.luna("report", "-o", str(path))
    data = embedded(path)
    metrics = json.loads((line.path / "models/metrics.json").read_text())["evaluation"]
    line.luna("export", "G003", "--to", str(tmp_path / "out"))
    texts = {
        "log": line.luna("log", "--limit", "1").stdout,
        "EVAL.md": (line.path / "models/EVAL.md").read_text(),
        "MODEL_CARD.md": (line.path / "models/MODEL_CARD.md").read_text(),
        "README.md": (tmp_path / "out/README.md").read_text(),
        "diff": line.luna("diff", "G001", "G003").stdout,
        "report": json.dumps(data["generations"][3]["scores"]),
    }
    for score in scores.SCORES:
        for where, text in texts.items():
            assert scores.shown(metrics[score.key]) in text, (where, score.name)
            if where not in ("log", "report"):
                assert score.title in text and "eneralization" not in text, (where, score.name)


def test_hostile_text_is_shown_and_does_nothing(browser, hostile):
    page, asked = opened(browser, hostile.path / "hostile.html")
    page.get_by_role("option", name="G003 rolled back").click()
    detail = page.locator("#detail")
    detail.get_by_text("Evaluation", exact=True).click()
    text = detail.inner_text()
    assert (
        "<img src=x onerror=window.hacked=2>" in text
        and text.count("window.hacked=1") >= 3
        and "cannot be read" in text
    )
    assert "<script>window.hacked=1</script>" in page.locator("#head").inner_text()
    assert page.evaluate("window.hacked") is None
    assert page.locator("img, iframe, #detail a, #head a").count() == 0
    assert len(asked) == 1


@pytest.mark.parametrize(
    "options",
    [{"color_scheme": "dark"}, {"viewport": {"width": 360, "height": 740}, "has_touch": True}],
)
def test_a_long_line_on_a_phone_and_in_the_dark(browser, long, tmp_path, options):
    path = tmp_path / "page.html"
    long.luna("report", "-o", str(path))
    page, _ = opened(browser, path, **options)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), (
        "it scrolls sideways"
    )
    assert (
        page.locator("#generations > [role=option]").count() == 120
        and page.locator("figure .marks").count() == CHARTS
    )
    page.get_by_role("option", name="G097 rolled back").scroll_into_view_if_needed()
    page.get_by_role("option", name="G097 rolled back").click()
    assert "Luna-G097-" in page.locator("#detail h3").first.inner_text()
