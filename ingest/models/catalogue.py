"""The models that Longtake knows: one list, with what is known of each from public sources.

A revision or a hash stands here only where a public source states it, for most several that agree;
there was no hub to hold them against. A wrong one is refused by `longtake models pull`. None means
that `longtake models pull` asks the hub once and keeps to its answer from then on. Sizes are
those that model cards and lists of files state; of EasyOCR's networks and three of the SigLIP 2
models, which nobody states, they are the weights at four bytes each (as files of their series are).
None is not known. Any other repo of a known kind works as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Device = Literal["cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class Kind:
    """What a kind of model needs.

    packages: modules that run its weights, the one that loads them last; all are in the extra
    [models]. export: the module whose `prepare` makes an ONNX copy that runs without them; None
    where there is none.
    """

    packages: tuple[str, ...]
    export: str | None = None


KINDS: dict[str, Kind] = {
    "clip": Kind(("torch", "open_clip"), "ingest.models.clip_export"),
    "whisper": Kind(("ctranslate2", "faster_whisper")),
    "text": Kind(("torch", "transformers"), "ingest.models.text_export"),
    "reranker": Kind(("torch", "transformers"), "ingest.models.reranker_export"),
    "clap": Kind(("torch", "transformers"), "ingest.models.clap_export"),
    "detector": Kind(("torch", "transformers")),
    "videollm": Kind(("torch", "transformers")),
    "easyocr": Kind(("torch", "easyocr")),
}


@dataclass(frozen=True, slots=True)
class FileSpec:
    """One file of a model, as far as public sources tell. Hashes are hexadecimal.

    md5: EasyOCR publishes no other hash.
    """

    path: str
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A model of the catalogue.

    name: what settings and commands call it, the last part of its repo. repo: on the hub; None for
    EasyOCR's, which come from the releases that the package itself names. revision: a commit, or
    None. files: those of which something is known, not all that it has. size: bytes to download,
    about; None is not known. default_for: devices whose default of its kind it is.
    """

    name: str
    kind: str
    repo: str | None
    revision: str | None = None
    files: tuple[FileSpec, ...] = ()
    size: int | None = None
    default_for: tuple[Device, ...] = ()
    license: str = ""

    @property
    def library(self) -> str:
        """The module that loads it."""
        return KINDS[self.kind].packages[-1]


_CRAFT_BYTES = 83_100_000


def _easyocr(name: str, file: str, md5: str, size: int) -> ModelSpec:
    """A recogniser, of that size, together with the detector that every EasyOCR reader needs."""
    craft = FileSpec("craft_mlt_25k.pth", md5="2f8227d2def4037cdb3b34389dcf9ec1")
    return ModelSpec(
        name, "easyocr", None, files=(craft, FileSpec(file, md5=md5)), size=_CRAFT_BYTES + size,
        license="apache-2.0",
    )  # fmt: skip


def _hub(
    kind: str, repo: str, revision: str | None = None, *files: FileSpec, **more: Any
) -> ModelSpec:
    """A model of the hub, called as the last part of its repo."""
    return ModelSpec(repo.rpartition("/")[2], kind, repo, revision, files, **more)


CATALOGUE: tuple[ModelSpec, ...] = (
    _hub(
        "clip", "timm/ViT-B-32-SigLIP2-256", "cd1efb47643f2794413dd79ef24397c175032780",
        FileSpec(
            "open_clip_model.safetensors",
            sha256="7cdccf256ee0e4a9908c365f8e1c88d5db171980a3350c214f5221d50f8d9927",
        ),
        FileSpec(
            "tokenizer.json", 34_362_885,
            "220c63d496e0c14e63eb656c91e0215e926202e4c74b1f089e09f1920d779b04",
        ),
        size=1_510_000_000, default_for=("cpu",), license="apache-2.0",
    ),
    _hub(
        "clip", "timm/ViT-SO400M-16-SigLIP2-384", "fec784dabb3081a5f101fc74eefaf9d1ed08237b",
        size=4_540_000_000, license="apache-2.0",
    ),
    _hub(
        "clip", "timm/ViT-B-16-SigLIP2-384",
        size=1_502_000_000, default_for=("gpu",), license="apache-2.0",
    ),
    _hub(
        "clip", "timm/ViT-B-16-SigLIP2-256",
        size=1_501_000_000, license="apache-2.0",
    ),
    _hub(
        "clip", "timm/ViT-L-16-SigLIP2-256", "da9426945c7c5acbd3afd0c158c8bb9cfd4d8cc0",
        size=3_526_000_000, license="apache-2.0",
    ),
    _hub(
        "clip", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "1a25a446712ba5ee05982a381eed697ef9b435cf",
        FileSpec(
            "open_clip_model.safetensors", 605_143_316,
            "ac4f8c4b88af6d963118cbf40ad93176d092abbedfcb752601ae1866352656e6",
        ),
        size=609_000_000, license="mit",
    ),
    _hub(
        "clip", "timm/MobileCLIP2-S0-OpenCLIP", "095906d28bf54d7584dc411e8ffe448f34289e05",
        FileSpec(
            "open_clip_model.safetensors",
            sha256="ab91a1a0c4330d6b1913e24d5035dfdea15423316aaec649610c6b1c6ddd0e95",
        ),
        license="apple-amlr (research only)",
    ),
    _hub(
        "whisper", "Systran/faster-whisper-small", "536b0662742c02347bc0e980a01041f333bce120",
        FileSpec(
            "model.bin", 483_546_902,
            "3e305921506d8872816023e4c273e75d2419fb89b24da97b4fe7bce14170d671",
        ),
        FileSpec(
            "config.json",
            sha256="b55496ac7940a7ae47d2c01eab40edfd8701feec1229d9cce3b40014383fb828",
        ),
        FileSpec(
            "tokenizer.json", 2_203_239,
            "fb7b63191e9bb045082c79fd742a3106a12c99513ab30df4a0d47fa6cb6fd0ab",
        ),
        FileSpec(
            "vocabulary.txt",
            sha256="34ce3fe1c5041027b3f8d42912270993f986dbc4bb34cf27f951e34a1e453913",
        ),
        size=486_000_000, default_for=("cpu",), license="mit",
    ),
    _hub(
        "whisper", "dropbox-dash/faster-whisper-large-v3-turbo",
        "0a363e9161cbc7ed1431c9597a8ceaf0c4f78fcf",
        FileSpec(
            "model.bin", 1_617_884_929,
            "e76620f83d5f5b69efd3d87e3dc180c1bd21df9fbebacfd4335e5e1efcc018da",
        ),
        size=1_622_000_000, default_for=("gpu",), license="mit",
    ),
    _hub(
        "whisper", "Systran/faster-whisper-base", "ebe41f70d5b6dfa9166e2c581c45c9c0cfc57b66",
        FileSpec(
            "model.bin",
            sha256="d01c3014881c9c6f3133c182f3d2887eb6ca1c789a7538c5c007196857a0a6a9",
        ),
        size=148_000_000, license="mit",
    ),
    _hub(
        "whisper", "Systran/faster-whisper-large-v3", "edaa852ec7e145841d8ffdb056a99866b5f0a478",
        FileSpec(
            "model.bin",
            sha256="69f74147e3334731bc3a76048724833325d2ec74642fb52620eda87352e3d4f1",
        ),
        size=3_090_000_000, license="mit",
    ),
    _hub(
        "text", "intfloat/multilingual-e5-small", "614241f622f53c4eeff9890bdc4f31cfecc418b3",
        FileSpec(
            "tokenizer.json", 17_082_730,
            "0b44a9d7b51c3c62626640cda0e2c2f70fdacdc25bbbd68038369d14ebdf4c39",
        ),
        FileSpec(
            "sentencepiece.bpe.model", 5_069_051,
            "cfc8146abe2a0488e9e2a0c56de7952f7c11ab059eca145a0a727afce0db2865",
        ),
        size=493_000_000, default_for=("cpu", "gpu"), license="mit",
    ),
    _hub(
        "text", "intfloat/multilingual-e5-base", "d13f1b27baf31030b7fd040960d60d909913633f",
        size=1_130_000_000, license="mit",
    ),
    _hub(
        "text", "sentence-transformers/all-MiniLM-L6-v2",
        "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
        FileSpec(
            "model.safetensors", 90_868_376,
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        ),
        size=91_600_000, license="apache-2.0",
    ),
    _hub(
        "reranker", "cross-encoder/ms-marco-MiniLM-L6-v2",
        "c5ee24cb16019beea0893ab7796b1df96625c6b8",
        size=92_000_000, license="apache-2.0",
    ),
    _hub(
        "reranker", "BAAI/bge-reranker-v2-m3", "953dc6f6f85a1b2dbfca4c34a2796e7dde08d41e",
        size=2_290_000_000, license="apache-2.0",
    ),
    _hub(
        "clap", "laion/larger_clap_general", "ada0c23a36c4e8582805bb38fec3905903f18b41",
        size=780_000_000, default_for=("cpu", "gpu"), license="apache-2.0",
    ),
    _hub(
        "detector", "google/owlv2-base-patch16-ensemble",
        "cfd3195ba4ea9592eec887ded089f4c08eff231d",
        FileSpec(
            "model.safetensors", 619_918_824,
            "e1e130b9e404cf91a75ad45644c1da9d7fa5284085eecc864266a6923efb99e7",
        ),
        size=622_000_000, default_for=("cpu", "gpu"), license="apache-2.0",
    ),
    _hub(
        "detector", "IDEA-Research/grounding-dino-tiny", "a2bb814dd30d776dcf7e30523b00659f4f141c71",
        FileSpec(
            "model.safetensors", 689_359_096,
            "1a2412ef99bd74bcd3c2a246fa1e48581f8889a1300c9051974741314fc042f3",
        ),
        size=690_000_000, license="apache-2.0",
    ),
    _hub(
        "videollm", "HuggingFaceTB/SmolVLM2-500M-Video-Instruct",
        "7b375e1b73b11138ff12fe22c8f2822d8fe03467",
        FileSpec(
            "model.safetensors", 2_029_990_624,
            "b9bfd456c9472c0acd5719d6e514c4b859891af205ee1a736552fd3497b8b0c3",
        ),
        size=2_035_000_000, default_for=("cpu",), license="apache-2.0",
    ),
    _hub(
        "videollm", "Qwen/Qwen3-VL-2B-Instruct", "89644892e4d85e24eaac8bacfd4f463576704203",
        FileSpec(
            "model.safetensors", 4_255_140_312,
            "7de1838c87a5349b016c26a1c3f7d2bc400a3d485f95ef39a7059ffd734977a0",
        ),
        size=4_270_000_000, default_for=("gpu",), license="apache-2.0",
    ),
    _hub(
        "videollm", "Qwen/Qwen3-VL-4B-Instruct", "ebb281ec70b05090aa6165b016eac8ec08e71b17",
        size=8_880_000_000, license="apache-2.0",
    ),
    _hub(
        "videollm", "HuggingFaceTB/SmolVLM2-2.2B-Instruct",
        "482adb537c021c86670beed01cd58990d01e72e4",
        license="apache-2.0",
    ),
    _easyocr("english_g2", "english_g2.pth", "5864788e1821be9e454ec108d61b887d", 15_100_000),
    _easyocr("latin_g2", "latin_g2.pth", "469869130aad1a34e8f9086f4262bc59", 15_400_000),
    _easyocr("zh_sim_g2", "zh_sim_g2.pth", "b601ce7143293387d3ec4f41a66edc07", 21_900_000),
    _easyocr("japanese_g2", "japanese_g2.pth", "bad5146990ccb1272cb0908440fbe15e", 17_300_000),
    _easyocr("korean_g2", "korean_g2.pth", "befecf7b1ca2fffb5af814a51443682d", 16_100_000),
    _easyocr("cyrillic_g2", "cyrillic_g2.pth", "19f85f43d9128a89ac21b8d6a06973fe", 15_200_000),
    _easyocr("telugu_g2", "telugu.pth", "f7576012a3abe593950c47bfa1bd8ddc", 15_200_000),
    _easyocr("kannada_g2", "kannada.pth", "c240c97e4adb8773b53b3b3dec728627", 15_200_000),
    _easyocr("zh_tra_g1", "chinese.pth", "dfba8e364cd98ed4fed7ad54d71e3965", 226_000_000),
    _easyocr("thai_g1", "thai.pth", "40a06b563a2b3d7897e2d19df20dc709", 215_300_000),
    _easyocr("devanagari_g1", "devanagari.pth", "db6b1f074fae3070f561675db908ac08", 215_400_000),
    _easyocr("arabic_g1", "arabic.pth", "993074555550e4e06a6077d55ff0449a", 215_400_000),
    _easyocr("tamil_g1", "tamil.pth", "4b93972fdacdcdabe6d57097025d4dc2", 215_200_000),
    _easyocr("bengali_g1", "bengali.pth", "cea9e897e2c0576b62cbb1554997ce1c", 215_300_000),
)  # fmt: skip


def known(name: str, kind: str | None = None) -> ModelSpec | None:
    """The model of that name or repo; case does not matter."""
    for spec in CATALOGUE:
        called = {spec.name.casefold(), (spec.repo or spec.name).casefold()}
        if name.casefold() in called and kind in (None, spec.kind):
            return spec
    return None


def default(kind: str, device: str) -> str | None:
    """The name of the kind's default. device: "cpu", or anything else for a GPU. None where there
    is none (EasyOCR's depends on the language)."""
    wanted: Device = "cpu" if device == "cpu" else "gpu"
    return next((s.name for s in CATALOGUE if s.kind == kind and wanted in s.default_for), None)
