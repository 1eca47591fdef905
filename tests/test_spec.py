"""SPECs of models that are started by us: options, identity, what a fingerprint sees."""

from __future__ import annotations

import json
import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judge import checkpoints
from judge.checkpoints import chat_template, fingerprint
from judge.endpoint import LocalModel, parse_spec
from judge.errors import UsageError
from judge.local_models import chat_template_of
from judge.resources import shipped
from tests.checkpoints import safetensors, write_model

MIB = 1 << 20


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model")


def local(spec: str) -> LocalModel:
    parsed = parse_spec(spec).local
    assert parsed is not None
    return parsed


class TestForms:
    def test_a_folder_is_named_with_its_fingerprint(self, model: Path) -> None:
        spec = parse_spec(f"vllm:{model}")
        assert spec.identity == f"vllm:{model}@{fingerprint(model)}"
        assert spec.model == str(model)
        assert spec.base_url is None
        assert not spec.offline
        assert parse_spec(f"hf:{model}").identity == f"hf:{model}@{fingerprint(model)}"

    def test_a_model_on_the_hub_is_its_id_and_revision(self) -> None:
        assert parse_spec("vllm:org/name-7B").identity == "vllm:org/name-7B"
        pinned = parse_spec("vllm:org/name-7B?revision=abc123")
        assert pinned.identity == "vllm:org/name-7B?revision=abc123"
        assert pinned.local is not None and pinned.local.folder is None

    def test_options_are_read_as_what_they_are(self, model: Path) -> None:
        read = local(
            f"vllm:{model}?tp=2&dp=4&max_model_len=8192&gpu_memory_utilization=0.8&dtype=bfloat16"
            "&quantization=fp8&ready_timeout=90"
        )
        assert (read.tp, read.dp, read.max_model_len) == (2, 4, 8192)
        assert (read.gpu_memory_utilization, read.ready_timeout) == (0.8, 90.0)
        assert (read.dtype, read.quantization) == ("bfloat16", "fp8")

    def test_what_fixes_the_outputs_names_the_model_and_nothing_else(self, model: Path) -> None:
        plain = local(f"vllm:{model}").identity
        for option in ("tp=2", "dp=2", "gpu_memory_utilization=0.5", "ready_timeout=5"):
            assert local(f"vllm:{model}?{option}").identity == plain
        identities = {plain}
        for option in ("dtype=float32", "max_model_len=99", "quantization=fp8"):
            identities.add(local(f"vllm:{model}?{option}").identity)
        assert len(identities) == 4

    def test_the_order_of_options_does_not_matter(self, model: Path) -> None:
        one = local(f"vllm:{model}?dtype=float32&max_model_len=9&tp=2")
        other = local(f"vllm:{model}?tp=4&max_model_len=9&dtype=float32")
        assert one.identity == other.identity

    def test_a_key_never_shows(self, model: Path) -> None:
        spec = parse_spec(f"hf:{model}")
        served = spec.served_at("http://127.0.0.1:5/v1", "a-secret")
        assert served.identity == spec.identity
        assert served.api_key() == "a-secret"
        assert "a-secret" not in repr(served)
        assert served == spec.served_at("http://127.0.0.1:5/v1", "another")

    def test_no_key_of_another_service_goes_to_our_own_server(
        self, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PLUMBLINE_API_KEY", "for someone else")
        monkeypatch.setenv("OPENAI_API_KEY", "for someone else")
        assert parse_spec(f"hf:{model}").api_key() == "none"


class TestRefusals:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ("tensor_parallel=2", "unknown option tensor_parallel=2. Known options: tp: "),
            ("tp", "unknown option tp"),
            ("tp=0", "tp: found 0, expected GPUs per copy"),
            ("tp=two", "tp: found two"),
            ("tp=2&tp=2", "given twice"),
            ("dtype=int3", "dtype: found int3, expected auto, bfloat16"),
            ("gpu_memory_utilization=1.5", "gpu_memory_utilization: found 1.5"),
            ("max_model_len=-1", "max_model_len: found -1"),
            ("ready_timeout=nan", "ready_timeout: found nan"),
            ("chat_template=missing.jinja", "no such file: missing.jinja"),
            ("quantization=--api-key", "quantization: found --api-key"),
            ("revision=main", "a folder has no revision"),
        ],
    )
    def test_options_that_cannot_be(self, model: Path, options: str, said: str) -> None:
        with pytest.raises(UsageError) as raised:
            parse_spec(f"vllm:{model}?{options}")
        assert said in str(raised.value)

    def test_each_engine_has_its_own_options(self, model: Path) -> None:
        assert local(f"hf:{model}?batch=2").batch == 2
        with pytest.raises(UsageError, match="unknown option tp=2"):
            parse_spec(f"hf:{model}?tp=2")
        with pytest.raises(UsageError, match="unknown option batch=2"):
            parse_spec(f"vllm:{model}?batch=2")

    @pytest.mark.parametrize("spec", ["vllm:", "hf:", "vllm:?tp=2", "vllm:/no/such", "vllm:gpt2"])
    def test_what_is_neither_a_folder_nor_a_hub_id(self, spec: str) -> None:
        with pytest.raises(UsageError, match="a model's folder"):
            parse_spec(spec)

    def test_hf_takes_folders_only(self) -> None:
        with pytest.raises(UsageError, match="expected a model's folder"):
            parse_spec("hf:org/name")

    def test_a_path_with_a_slip_is_not_taken_for_a_hub_id(
        self, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(model.parent.parent)
        with pytest.raises(UsageError, match="there is no "):
            parse_spec(f"vllm:{model.parent.name}/modle")

    def test_folders_that_hold_no_model(self, model: Path) -> None:
        def refused(said: str) -> None:
            with pytest.raises(UsageError, match=said):
                parse_spec(f"vllm:{model}")

        (model / "tokenizer.json").unlink()
        (model / "tokenizer_config.json").unlink()
        refused("no tokenizer")
        (model / "model.safetensors").unlink()
        refused("no weights")
        (model / "training_args.bin").write_bytes(b"settings")
        refused("no weights")
        (model / "config.json").write_text("{")
        refused("config.json is not JSON")
        (model / "config.json").unlink()
        refused("no config.json")
        (model / "adapter_config.json").write_text("{}")
        refused("merge it into the base model")
        shutil.rmtree(model)
        model.write_text("")
        refused("a file; expected a model's folder")

    def test_half_saved_weights(self, model: Path) -> None:
        weights = model / "model.safetensors"
        whole = weights.read_bytes()
        weights.write_bytes(whole[:-1])
        with pytest.raises(UsageError, match="to its end"):
            parse_spec(f"hf:{model}")
        weights.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        with pytest.raises(UsageError, match="not a whole safetensors file"):
            parse_spec(f"hf:{model}")
        weights.write_bytes(whole)
        index = {"weight_map": {"w": "model.safetensors", "v": "model-2.safetensors"}}
        (model / "model.safetensors.index.json").write_text(json.dumps(index))
        with pytest.raises(UsageError, match=r"names model-2\.safetensors, which is missing"):
            parse_spec(f"hf:{model}")

    @pytest.mark.parametrize("offsets", [[9, 3], [-4, 64], [0, 10**400], [0, float("inf")]])
    def test_offsets_that_no_file_has(self, model: Path, offsets: list[float]) -> None:
        header = json.dumps({"w": {"dtype": "U8", "shape": [64], "data_offsets": offsets}}).encode()
        body = len(header).to_bytes(8, "little") + header + bytes(64)
        (model / "model.safetensors").write_bytes(body)
        with pytest.raises(UsageError, match="safetensors"):
            parse_spec(f"hf:{model}")

    def test_configuration_that_no_library_wrote(self, model: Path) -> None:
        (model / "model.safetensors.index.json").write_text('{"weight_map": {"w": ["a", "b"]}}')
        with pytest.raises(UsageError, match="which is missing"):
            parse_spec(f"hf:{model}")
        (model / "model.safetensors.index.json").unlink()
        (model / "config.json").write_text("[" * 200_000)
        with pytest.raises(UsageError, match=r"config\.json is not JSON"):
            parse_spec(f"hf:{model}")


class TestFingerprint:
    def test_a_copy_has_the_same_and_time_does_not_count(self, model: Path) -> None:
        copy = Path(shutil.copytree(model, model.with_name("copy")))
        os.utime(copy / "config.json", (0, 0))
        assert fingerprint(copy) == fingerprint(model)
        assert len(fingerprint(model)) == checkpoints.FINGERPRINT_HEX

    @pytest.mark.parametrize(
        "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"]
    )
    def test_every_byte_of_a_small_file_counts(self, model: Path, name: str) -> None:
        before = fingerprint(model)
        content = bytearray((model / name).read_bytes())
        content[-1] ^= 1
        (model / name).write_bytes(content)
        assert fingerprint(model) != before

    def test_new_files_count_where_they_are_part_of_the_model(self, model: Path) -> None:
        before = fingerprint(model)
        for name in ("README.md", "optimizer.pt", "trainer_state.json", "training_args.bin"):
            (model / name).write_text("beside the model")
        assert fingerprint(model) == before
        (model / "generation_config.json").write_text('{"eos_token_id": 7}')
        assert fingerprint(model) != before

    def test_names_count(self, model: Path) -> None:
        before = fingerprint(model)
        (model / "model.safetensors").rename(model / "other.safetensors")
        assert fingerprint(model) != before

    @given(tensor=st.integers(0, 3), offset=st.integers(-2048, 2047))
    def test_of_large_weights_the_middle_of_every_tensor_counts(
        self, tmp_path_factory: pytest.TempPathFactory, tensor: int, offset: int
    ) -> None:
        sizes = [5 * MIB, 6000, 4 * MIB, 4096]
        data = {f"t{n}": bytearray(size) for n, size in enumerate(sizes)}
        folder = write_model(tmp_path_factory.mktemp("m"), tensors=data)
        assert (folder / "model.safetensors").stat().st_size > checkpoints._WHOLE_BYTES
        before = fingerprint(folder)
        changed = data[f"t{tensor}"]
        changed[len(changed) // 2 + offset] = 1
        (folder / "model.safetensors").write_bytes(safetensors(data))
        assert fingerprint(folder) != before
        shutil.rmtree(folder)

    def test_of_large_weights_other_bytes_are_not_read(self, tmp_path: Path) -> None:
        # The price of being quick: said in the docstring, held here.
        data = {"t": bytearray(9 * MIB)}
        folder = write_model(tmp_path / "m", tensors=data)
        before = fingerprint(folder)
        data["t"][0] = 1
        (folder / "model.safetensors").write_bytes(safetensors(data))
        assert fingerprint(folder) == before

    def test_of_large_weights_shape_and_size_count(self, tmp_path: Path) -> None:
        one = write_model(tmp_path / "1", tensors={"a": bytes(9 * MIB), "b": bytes(MIB)})
        other = write_model(tmp_path / "2", tensors={"a": bytes(MIB), "b": bytes(9 * MIB)})
        assert fingerprint(one) != fingerprint(other)

    def test_large_weights_of_another_format_are_sampled_evenly(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "m")
        (folder / "model.safetensors").unlink()
        weights = folder / "pytorch_model.bin"
        content = bytearray(9 * MIB)
        seen = set()
        sampled = (len(content) - checkpoints._BLOCK) * 100 // (checkpoints._BLOCKS - 1)
        for at in (None, 0, sampled, len(content) - 1):
            if at is not None:
                content[at] ^= 1
            weights.write_bytes(content)
            seen.add(fingerprint(folder))
        assert len(seen) == 4


class TestChatTemplate:
    def test_the_models_own(self, model: Path) -> None:
        assert chat_template_of(parse_spec(f"vllm:{model}")) == (
            "tokenizer_config.json",
            "{{ messages }}",
        )
        (model / "chat_template.jinja").write_text("from the file")
        found = chat_template_of(parse_spec(f"vllm:{model}"))
        assert found == ("chat_template.jinja", "from the file")
        assert found.sha256 == sha256(b"from the file").hexdigest()
        assert local(f"vllm:{model}").template_file is None

    def test_of_several_the_default(self, tmp_path: Path) -> None:
        several = [{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}]
        assert chat_template(write_model(tmp_path / "a", chat_template=several)) == (
            "tokenizer_config.json",
            "d",
        )
        with pytest.raises(UsageError, match=r"several chat templates \(tool\)"):
            chat_template(write_model(tmp_path / "b", chat_template=several[:1]))

    def test_templates_that_cannot_be_read(self, tmp_path: Path) -> None:
        odd = [{"name": ["tool"], "template": "t"}]
        with pytest.raises(UsageError, match="several chat templates"):
            chat_template(write_model(tmp_path / "a", chat_template=odd))
        folder = write_model(tmp_path / "b")
        (folder / "chat_template.jinja").write_bytes(b"\xff\xfe")
        with pytest.raises(UsageError, match="not UTF-8"):
            chat_template(folder)

    def test_a_model_without_one_gets_the_plain_one(self, tmp_path: Path) -> None:
        folder = write_model(tmp_path / "m", chat_template=None)
        assert chat_template(folder) is None
        spec = parse_spec(f"hf:{folder}")
        source, text = chat_template_of(spec)
        assert source == "plain: prompts/answering/plain_chat.jinja"
        assert text == shipped("prompts/answering/plain_chat.jinja").read_text()
        digest = sha256(text.encode()).hexdigest()[:12]
        assert spec.identity.endswith(f"?chat_template={digest}")

    def test_a_given_one_goes_by_its_text(self, model: Path, tmp_path: Path) -> None:
        def identity(name: str, text: str) -> str:
            (tmp_path / name).write_text(text)
            return local(f"vllm:{model}?chat_template={tmp_path / name}").identity

        assert identity("a.jinja", "x") == identity("b c.jinja", "x")
        assert identity("a.jinja", "y") != identity("b c.jinja", "x")

    def test_nothing_is_made_up_about_other_servers(self) -> None:
        for spec in ("http://127.0.0.1:1/v1#m", "vllm:org/name"):
            found = chat_template_of(parse_spec(spec))
            assert found.text is None
            assert found.sha256 is None

    def test_the_plain_template_renders_contents_and_nothing_else(self) -> None:
        from jinja2 import Template

        template = Template(shipped("prompts/answering/plain_chat.jinja").read_text())
        messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi\n"}]
        assert template.render(messages=messages) == "Be brief.\n\nHi\n\n\n"
        assert template.render(messages=messages, bos_token="<s>").startswith("<s>Be brief.")


def test_only_the_baseline_is_offline() -> None:
    assert parse_spec("offline").offline
    assert not parse_spec("vllm:org/name").offline
