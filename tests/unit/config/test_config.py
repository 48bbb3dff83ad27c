import json
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel
from snakemake.utils import update_config

from softjet.config.generate import default_yaml, key_table, schema_json
from softjet.config.jets import ClassName
from softjet.config.load import load_config, validate
from softjet.config.lowrank import Compression
from softjet.config.part import ParTRun
from softjet.config.root import Config
from softjet.errors import InputError
from softjet.jets.schema import CLASSES

CONFIG = Path(__file__).parents[3] / "config"


@pytest.mark.parametrize(
    ("name", "text"),
    [("config.yaml", default_yaml()), ("schema.json", schema_json()), ("README.md", key_table())],
)
def test_generated_files_are_in_step(name, text):
    assert (CONFIG / name).read_text(encoding="utf-8") == text, "run `make defaults`"


def keys_of_schema(node, definitions, key=""):
    """Every key that the JSON schema allows, as the table writes it."""
    if "$ref" in node:
        node = definitions[node["$ref"].rpartition("/")[2]]
    for name, inner in node.get("properties", {}).items():
        place = f"{key}.{name}" if key else name
        yield place
        yield from keys_of_schema(inner, definitions, place)
    if isinstance(node.get("additionalProperties"), dict):
        yield from keys_of_schema(node["additionalProperties"], definitions, f"{key}.*")
    if isinstance(node.get("items"), dict):
        yield from keys_of_schema(node["items"], definitions, f"{key}[]")
    for choice in node.get("anyOf", []):
        yield from keys_of_schema(choice, definitions, key)


def test_table_has_every_key_once():
    schema = Config.model_json_schema()
    known = set(keys_of_schema(schema, schema["$defs"]))
    shown = re.findall(r"^\| `([^`]+)` \|", key_table(), re.M)
    assert len(shown) == len(set(shown)) > 170
    sections = {key for key in known if any(other.startswith((f"{key}.", f"{key}[")) for other in known)}
    assert known - sections <= set(shown) <= known


@pytest.mark.parametrize(
    "row",
    [
        "| `compress.*.learning.learn_steps` | `150`; of `part` `70` |",
        "| `compress.*.learning.batch_size` | `64` |",
        '| `language.*.family` | required; of `bert` `"bert"` |',
        '| `datasets.*.further_test` | `{}`; of `simulated` `{"QCD": 6000}` |',
    ],
)
def test_table_tells_the_defaults_of_an_entry_of_the_users(row):
    assert row in key_table()


def test_default_file_is_the_default_configuration():
    assert load_config(CONFIG / "config.yaml") == Config()


@pytest.mark.parametrize("path", sorted(CONFIG.rglob("*.yaml")), ids=lambda p: p.name)
def test_every_configuration_here_is_valid(path):
    load_config(path)


@pytest.mark.parametrize(
    ("methods", "shown"),
    [
        (["svd", "soft-threshold"], "soft-threshold"),
        (["svd", "whitened-soft-threshold"], "whitened-soft-threshold"),
        (["learned-mask", "whitened-soft-threshold", "soft-threshold"], "soft-threshold"),
        (["svd", "learned-mask", "whitened-soft-threshold"], "whitened-soft-threshold"),
        (["energy-svd", "learned-mask"], "learned-mask"),
        (["energy-svd", "svd", "dense"], "energy-svd"),
    ],
)
def test_the_run_that_is_shown_learns_its_ranks_if_any_does(methods, shown):
    grids = [{"methods": [method], "keeps": [0.7, 0.5]} for method in methods]
    assert Compression(grids=grids).shown() == f"{shown}-0.7-1"


def test_schema_knows_every_key_and_describes_it():
    def sections(model):
        yield model
        for field in model.model_fields.values():
            for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
                if isinstance(kind, type) and issubclass(kind, BaseModel):
                    yield from sections(kind)

    schema = json.loads(schema_json())
    for section in sections(Config):
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name} has no description"
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("values", "field", "hint"),
    [
        ({"pats": {}}, "pats", "did you mean 'paths'"),
        ({"part": {"reference": {"training": {"epoch": 3}}}}, "part.reference.training.epoch", "'epochs'"),
        ({"part": {"reference": {"training": {"epochs": -3}}}}, "part.reference.training.epochs", "-3"),
        ({"attention": {"jets": "many"}}, "attention.jets", "integer"),
        ({"datasets": {"mine": {"source": "root"}}}, "datasets.mine.source", "'jetclass'"),
        (
            {"datasets": {"mine": {"further_test": {"QCD": 5, "Top": 5}}}},
            "datasets.mine.further_test.Top",
            "unknown key; known are 'QCD', 'Hbb', ",
        ),
        ({"datasets": {"mine": {"further_test": {"Tbl": -1}}}}, "datasets.mine.further_test.Tbl", "-1"),
        ({"datasets": {"mine": {"further_test": 5}}}, "datasets.mine.further_test", "dictionary"),
        ({"compress": {"part": {"base": "nobody"}}}, "compress.part.base", "'nobody'"),
        ({"part": {"reference": {"dataset": "none"}}}, "part.reference.dataset", "'none'"),
        ({"part": 3}, "part", "dictionary"),
        (
            {"compress": {"part": {"grids": [{"seeds": []}]}}},
            "compress.part.grids.0.seeds",
            "at least 1 item",
        ),
        ({"compress": {"part": {"grids": [{"seeds": [1, -1]}]}}}, "compress.part.grids.0.seeds.1", "-1"),
        (
            {"compress": {"part": {"grids": [{"keeps": []}]}}},
            "compress.part.grids.0.keeps",
            "at least 1 item",
        ),
        ({"compress": {"part": {"grids": [{"methods": []}]}}}, "compress.part.grids.0.methods", "1 item"),
        (
            {"compress": {"part": {"learning": {"embeddings": True}}}},
            "compress.part.learning.embeddings",
            "no embedding tables",
        ),
        (
            {"compress": {"part": {"learning": {"imitation": 1.0}}}},
            "compress.part.learning.imitation",
            "trains on rows",
        ),
        (
            {"datasets": {"mine": {"simulation": {"jets_per_class": 3, "shards": 4}}}},
            "datasets.mine.simulation",
            "4 shards cannot share 3 jets of a class; lower shards or raise jets_per_class",
        ),
        (
            {"language": {"gpt2": {"family": "gpt2", "task": "sst2"}}, "compress": {}},
            "language.gpt2.task",
            "'sst2' is sst2, and gpt2 does wikitext2, wikitext103, text; name a task of these",
        ),
        (
            {"language": {"mine": {"family": "mpnet", "task": "wikitext2-short"}}, "compress": {}},
            "language.mine.task",
            "'wikitext2-short' is wikitext2, and mpnet does cola, sst2, mrpc, qqp, mnli, qnli, rte, wnli;",
        ),
        ({"attention": {"thresholds": []}}, "attention.thresholds", "at least 1 item"),
        ({"joined": {"thresholds": []}}, "joined.thresholds", "at least 1 item"),
        ({"attention": {"thresholds": [0.5, 80]}}, "attention.thresholds.1", "less than 1"),
        (
            {"attention": {"thresholds": [0.5, 0.5]}},
            "attention.thresholds",
            "names 0.5 twice; name each once",
        ),
        (
            {"part": {"mine": {"dataset": "simulated"}, "mine-untrained": {"dataset": "simulated"}}},
            "part.mine-untrained",
            "is what the untrained twin of 'mine' is called; rename it",
        ),
        ({"language": 0}, "language", "dictionary"),
        ({"latency": {"batches": [1, "x"]}}, "latency.batches.1", "integer"),
        ({"topk": {"keep": [4, 1, 4]}}, "topk.keep", "names 4 twice"),
        ({"topk": {"tuned": [2, 2]}}, "topk.tuned", "names 2 twice"),
        ({"latency": {"batches": [8, 1, 8]}}, "latency.batches", "names 8 twice"),
        ({"latency": {"batches": []}}, "latency.batches", "at least 1 item"),
        ({"latency": {"language_batches": [1, 0]}}, "latency.language_batches.1", "got 0"),
        ({"latency": {"language_batches": [2, 2]}}, "latency.language_batches", "names 2 twice"),
        ({"latency": {"precision": "float16"}}, "latency.precision", "'float32' or 'bfloat16'"),
    ],
)
def test_wrong_key_or_value_is_named_in_one_line(values, field, hint):
    with pytest.raises(InputError) as caught:
        validate(values, "mine.yaml")
    message = str(caught.value)
    assert message.startswith(f"mine.yaml: {field}: ")
    assert hint in message
    assert "\n" not in message


@pytest.mark.parametrize("text", ["a: [1", "a: b: c", "- 1\n- 2", "\x00"])
def test_unreadable_yaml_is_one_line(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_config(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_yaml_cannot_run_code(tmp_path):
    path = tmp_path / "evil.yaml"
    path.write_text(f"!!python/object/apply:os.mkdir [{tmp_path}/made]")
    with pytest.raises(InputError):
        load_config(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("given", "asked"),
    [({"Tbl": 10}, {"QCD": 6000, "Tbl": 10}), ({"QCD": 0}, {"QCD": 0}), ({}, {"QCD": 6000})],
)
def test_further_test_jets_are_laid_over_the_default_ones(given, asked):
    values = yaml.safe_load(default_yaml())
    update_config(values, {"datasets": {"simulated": {"further_test": given}}})
    assert validate(values, "x").datasets["simulated"].further_test == asked


def test_classes_of_the_configuration_are_those_of_the_jet_table():
    assert get_args(ClassName) == CLASSES


def test_null_unnames_a_default():
    values = yaml.safe_load("datasets: {simulated: null, mine: {}}\npart: {reference: {dataset: mine}}")
    assert list(validate(values, "x").datasets) == ["mine"]


@pytest.mark.parametrize(
    ("pair", "problem"),
    [
        ({"reference": "reference", "other": "mine"}, "no run of part is named 'mine'"),
        ({"reference": "reference", "other": "elsewhere"}, "give runs of one dataset"),
    ],
)
def test_runs_that_are_compared_exist_and_share_a_dataset(pair, problem):
    part = {"reference": {}, "elsewhere": {"dataset": "second"}}
    with pytest.raises(InputError, match=problem) as caught:
        validate(
            {"datasets": {"simulated": {}, "second": {}}, "part": part, "comparisons": [pair]}, "mine.yaml"
        )
    assert "comparisons.0" in str(caught.value)


def test_what_a_section_says_of_itself_is_the_whole_line():
    with pytest.raises(InputError) as caught:
        validate({"part": {"reference": {"training": {"steps": 3, "epochs": 2}}}}, "mine.yaml")
    assert str(caught.value) == "mine.yaml: part.reference.training: give either epochs or steps, not both"


def test_a_compressed_particle_transformer_hands_on_the_licence_that_is_known():
    assert ParTRun(weights={}).licence() == "MIT"
    assert ParTRun(weights={"name": "mine", "folder": "weights"}).licence() == "unknown"
    assert ParTRun().licence() == "unknown"


@pytest.mark.parametrize("name", ["full", "paper"])
def test_recipes_in_earnest_learn_from_all_lines_of_the_text(name):
    values, given = (yaml.safe_load((CONFIG / f"{file}.yaml").read_text()) for file in ("config", name))
    update_config(values, given)
    assert validate(values, name).tasks["wikitext2"].lines is None


def test_null_empties_a_section_and_a_list():
    config = validate({"comparisons": None, "language": None, "tasks": None, "compress": None}, "mine.yaml")
    assert (config.comparisons, config.language, config.compress) == ((), {}, {})
