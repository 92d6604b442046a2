"""A model that watches a stream: frames are read once, what is kept answers as all of it would."""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import itertools
import os

import numpy as np
import pytest
import tiny_videollm

from index.errors import ModelMissingError, UsageError
from ingest.models.videollm import ContextOverflowError, Frame, Prompt, VideoLLMError
from ingest.models.videollm.session_settings import SessionSettings
from ingest.models.videollm.transformers import TransformersVideoLLM

FAMILIES = ("qwen3_vl", "qwen2_5_vl", "llava_onevision", "smolvlm")
QUESTION = "What is seen?"
TIMES = (1.0, 2.5, 4.25, 7.0, 9.0, 61.0, 75.5, 80.0, 3601.3, 3602.0)
TOLERANCE = 1e-4


def pictures(count: int, seed: int = 0, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), dtype=np.uint8) for _ in range(count)]


SHOWN = pictures(len(TIMES))


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """family -> the model, built when first asked for."""
    models: dict[tuple[str, int], TransformersVideoLLM] = {}

    def get(family: str, context: int = 32768) -> TransformersVideoLLM:
        if family == "smolvlm" and importlib.util.find_spec("num2words") is None:
            pytest.skip("SmolVLM's processor needs the package num2words")
        if (family, context) not in models:
            folder = tmp_path_factory.mktemp(family)
            files = tiny_videollm.build(family, folder, context=context)
            models[family, context] = TransformersVideoLLM(files, device="cpu", threads=1)
        return models[family, context]

    return get


def bounded(model: TransformersVideoLLM, window: int, **settings) -> SessionSettings:
    """Settings that leave a window of about so many tokens."""
    question = settings.pop("question_tokens", 400)
    probe = model.session(SessionSettings(device_bytes=4 << 20, question_tokens=question))
    tokens = int(window * 3.25) + 2 * probe._head_tokens + question + 4
    waiting = int(window * 0.25) + question
    room = tokens * probe._model.token_bytes + waiting * probe._model.step_bytes
    return SessionSettings(device_bytes=room, question_tokens=question, **settings)


def kept(session) -> dict[float, tuple[np.ndarray, np.ndarray]]:
    """time -> keys and values of each frame, wherever they lie."""
    found = {}
    at = session._head_tokens
    for block in session._recent:
        both = session._stream.read(at, at + block.tokens)
        found[block.time_seconds] = both.keys.numpy().copy(), both.values.numpy().copy()
        at += block.tokens
    assert at == session._stream.length
    for block in session._blocks:
        if block.time_seconds not in found:
            both = session._store.get(block.number)
            found[block.time_seconds] = both.keys.numpy().copy(), both.values.numpy().copy()
    return dict(sorted(found.items()))


def told(pieces) -> tuple[str, list[float]]:
    got = list(pieces)
    return "".join(p.text for p in got), [x for p in got for x in p.logprobs]


def whole_pass(session, steps, visible):
    """(hidden states, cache) of the library's language model over all steps at once. visible: for
    each step, the numbers of the steps that it looks at."""
    import torch
    from transformers import DynamicCache

    cache = DynamicCache()
    ends = np.cumsum([step.tokens for step in steps])
    starts = [0, *ends[:-1]]
    mask = torch.zeros(int(ends[-1]), int(ends[-1]), dtype=torch.bool)
    for at, others in enumerate(visible):
        for row in range(starts[at], ends[at]):
            for other in others:
                mask[row, starts[other] : min(ends[other], row + 1)] = True
    with torch.inference_mode():
        return session._model.read(steps, 0, cache, mask), cache


def all_steps(session, shown, times):
    import torch

    with torch.inference_mode():
        before, _ = session._model.surroundings()
        frames = [Frame(t, image) for t, image in zip(times, shown, strict=True)]
        return [session._model.text(before), *session._model.blocks(frames)]


# The promise


@pytest.mark.parametrize("family", ["qwen3_vl", "qwen2_5_vl", "llava_onevision"])
def test_from_what_is_kept_it_answers_as_the_library_does_from_the_whole_prompt(loaded, family):
    """Few frames, since the library makes more of them smaller, which a stream cannot do."""
    model = loaded(family)
    times = (*TIMES[:6], TIMES[-1])
    with model.session(SessionSettings(device_bytes=4 << 20)) as session:
        session.append_frames(SHOWN[:3], times[:3])
        session.append_frames(SHOWN[3:7], times[3:])
        answer = told(session.ask(QUESTION, max_tokens=16, logprobs=True))
        frames = [Frame(time, image) for time, image in zip(times, SHOWN[:7], strict=True)]
        again = told(
            model.generate(Prompt((*frames, QUESTION)), max_tokens=16, logprobs=True),
        )
    assert answer[0] == again[0]
    np.testing.assert_allclose(answer[1], again[1], atol=TOLERANCE)


def test_smolvlm_answers_as_the_library_does_from_the_same_tokens(loaded):
    import torch

    model = loaded("smolvlm")
    with model.session(SessionSettings(device_bytes=4 << 20)) as session:
        session.append_frames(SHOWN, TIMES)
        answer = told(session.ask(QUESTION, max_tokens=1, logprobs=True))
    before, behind = session._model.surroundings()
    text = before
    for time in TIMES:
        a, b = session._model.layout.around(time)
        text += a + "<image>" * 4 + b
    text += "\n\n" + behind.replace("\x1fquestion\x1f", QUESTION)
    ids = model._processor.tokenizer(text, return_tensors="pt")["input_ids"]
    video = model._processor.video_processor(
        videos=[np.stack(SHOWN)], do_sample_frames=False, return_tensors="pt"
    )
    with torch.inference_mode():
        logits = model._model(input_ids=ids, pixel_values=video["pixel_values"]).logits[0, -1]
    best = torch.log_softmax(logits.float(), -1).max()
    np.testing.assert_allclose(answer[1], [best], atol=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_frame_by_frame_gives_what_one_pass_over_all_gives(loaded, family):
    """With a window that most frames fall out of, some of them in the middle of a step."""
    model = loaded(family)
    shown, times = pictures(24, seed=3), tuple(float(at) for at in range(24))
    with model.session(SessionSettings(device_bytes=4 << 20)) as probe:
        largest = max(step.tokens for step in all_steps(probe, shown, times)[1:])
    settings = bounded(model, window=9 * largest)
    calls = {"all at once": [24], "one by one": [1] * 24, "as they come": [3, 1, 9, 4, 7]}
    found, read_at_once = {}, {}
    for name, sizes in calls.items():
        with model.session(settings) as session:
            read, read_at_once[name] = session._model.read, []

            def counted(steps, *rest, read=read, counts=read_at_once[name]):
                counts.append(len(steps))
                return read(steps, *rest)

            session._model.read = counted
            at = 0
            for size in sizes:
                session.append_frames(shown[at : at + size], times[at : at + size])
                at += size
            found[name] = kept(session)
            window = session.window_tokens
    assert max(read_at_once["one by one"]) == 1 < max(read_at_once["all at once"])
    steps = all_steps(probe, shown, times)
    visible = [[0]]
    for at in range(1, len(steps)):
        seen = [at]
        while seen[0] > 1 and sum(steps[n].tokens for n in [seen[0] - 1, *seen[:-1]]) <= window:
            seen.insert(0, seen[0] - 1)
        visible.append([0, *seen])
    assert len(visible[-1]) < 15 < len(steps)
    _, cache = whole_pass(probe, steps, visible)
    ends = np.cumsum([step.tokens for step in steps])
    for name in calls:
        assert list(found[name]) == list(times)
        for (keys, values), start, end in zip(
            found[name].values(), ends[:-1], ends[1:], strict=True
        ):
            for layer, both in enumerate(cache.layers):
                np.testing.assert_allclose(keys[layer], both.keys[0, :, start:end], atol=TOLERANCE)
                np.testing.assert_allclose(
                    values[layer], both.values[0, :, start:end], atol=TOLERANCE
                )


@pytest.mark.parametrize("family", FAMILIES)
def test_a_gathered_subset_is_the_whole_with_the_rest_masked(loaded, family):
    import torch
    from transformers import DynamicCache

    model = loaded(family)
    with model.session(SessionSettings(device_bytes=4 << 20)) as session:
        session.append_frames(SHOWN, TIMES)
        subset = [session._blocks[at] for at in (1, 4, 5, 9)]
        with torch.inference_mode():
            hidden, _ = session._read_question(QUESTION, subset, 1)
            times = [block.time_seconds for block in subset]
            step, *_ = session._model.asked(session._behind, QUESTION, times)
            cache = DynamicCache()
            whole = session._stream.read(0, session._stream.length)
            for layer in range(session._model.layers):
                cache.update(whole.keys[layer][None], whole.values[layer][None], layer)
            sizes = [session._head_tokens, *(block.tokens for block in session._blocks)]
            shown = [True, *(block in subset for block in session._blocks)]
            row = torch.tensor(np.repeat(shown, sizes))
            own = torch.ones(step.tokens, step.tokens, dtype=torch.bool).tril()
            mask = torch.cat([row.expand(step.tokens, -1), own], dim=1)
            masked = session._model.read([step], session._next, cache, mask)
            logits, wanted = session._model.logits(hidden), session._model.logits(masked)
    assert not row.all()
    np.testing.assert_allclose(logits.numpy(), wanted.numpy(), atol=TOLERANCE)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_question_leaves_the_memory_as_it_is_to_the_bit(loaded, family, tmp_path):
    model = loaded(family)
    settings = bounded(model, window=4 * 32, host_bytes=30_000, folder=tmp_path)
    with model.session(settings) as session, model.session(settings) as never_asked:
        session.append_frames(SHOWN[:6], TIMES[:6])
        never_asked.append_frames(SHOWN[:6], TIMES[:6])
        before, where = kept(session), (session.host_bytes, session.disk_bytes)
        first = told(session.ask(QUESTION, max_tokens=12, logprobs=True))
        halfway = session.ask("And where?", spans=[(0.0, 3.0)], max_tokens=12, logprobs=True)
        next(halfway)
        halfway.close()
        after = kept(session)
        assert (session.host_bytes, session.disk_bytes) == where
        assert list(before) == list(after)
        for (keys, values), (keys2, values2) in zip(before.values(), after.values(), strict=True):
            assert np.array_equal(keys, keys2) and np.array_equal(values, values2)
        assert told(session.ask(QUESTION, max_tokens=12, logprobs=True)) == first
        session.append_frames(SHOWN[6:], TIMES[6:])
        never_asked.append_frames(SHOWN[6:], TIMES[6:])
        for time, (keys, values) in kept(session).items():
            others = kept(never_asked)[time]
            assert np.array_equal(keys, others[0]) and np.array_equal(values, others[1])


def test_frames_may_come_while_an_answer_is_given(loaded):
    model = loaded("qwen3_vl")
    with model.session(bounded(model, window=160)) as session:
        session.append_frames(SHOWN[:8], TIMES[:8])
        whole = told(session.ask(QUESTION, max_tokens=10, logprobs=True))
        pieces = session.ask(QUESTION, max_tokens=10, logprobs=True)
        got = [next(pieces)]
        session.append_frames(SHOWN[8:], TIMES[8:])
        assert told([*got, *pieces]) == whole
        assert session.times == TIMES


# The bounds


def tensors() -> list:
    """Those that have memory: an export in the same process may leave some that only pretend."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensor
    from torch._subclasses.functional_tensor import FunctionalTensor

    pretended = (FakeTensor, FunctionalTensor)
    kinds = ((each, type(each)) for each in gc.get_objects())
    return [
        each
        for each, kind in kinds
        if issubclass(kind, torch.Tensor) and not issubclass(kind, pretended)
    ]


@contextlib.contextmanager
def counted(session, before: list, every: int):
    """Yields a list that gets, for one in `every` calls of the language model, the bytes of all
    tensors but those of before the session, counted from outside; and but for what the host holds,
    and the mask, which is made for one call."""
    read, counts, calls = session._model.read, [], itertools.count(1)

    def looked(steps, start, cache, mask):
        if next(calls) % every:
            return read(steps, start, cache, mask)
        held = [each for kept in session._store._host.values() for each in (kept.keys, kept.values)]
        apart = [*before, *held, session._summaries._rows, mask]
        there = {each.untyped_storage().data_ptr(): 0 for each in apart}
        for each in tensors():
            storage = each.untyped_storage()
            there.setdefault(storage.data_ptr(), storage.nbytes())
        counts.append(sum(there.values()))
        return read(steps, start, cache, mask)

    session._model.read = looked
    try:
        yield counts
    finally:
        session._model.read = read


@pytest.mark.parametrize("family", FAMILIES)
def test_every_bound_is_held_and_the_oldest_go_first(loaded, family, tmp_path):
    model = loaded(family)
    many = pictures(60)
    with model.session(SessionSettings(device_bytes=4 << 20)) as probe:
        tokens = [step.tokens for step in all_steps(probe, many, [float(at) for at in range(60)])]
        one = max(tokens[1:]) * probe._model.token_bytes  # bytes of a frame
    given = {"host_bytes": 5 * one, "disk_bytes": 7 * one, "folder": tmp_path}
    settings = bounded(model, window=int(6.5 * max(tokens[1:])), **given)
    before = tensors()
    with model.session(settings) as session, counted(session, before, 13) as counts:
        at_start = session.device_bytes
        for at, image in enumerate(many):
            session.append_frames([image], [float(at % 10) / 100 + at])
            assert session.device_bytes == at_start <= settings.device_bytes
            assert session._stream.length <= session._stream.capacity
            assert session.host_bytes <= given["host_bytes"]
            assert session.disk_bytes <= given["disk_bytes"]
            if session.disk_bytes:
                file = os.fstat(session._store._disk._file.fileno())
                assert file.st_size == session.disk_bytes
            told(session.ask(QUESTION, max_tokens=2)) if at % 20 == 19 else None
        slabs = session._stream.nbytes + session._question.nbytes
        assert len(counts) > 4 and slabs < max(counts) <= settings.device_bytes
        assert session.forgotten > 30
        assert session.forgotten + len(session.times) == 60
        times = tuple(float(at % 10) / 100 + at for at in range(60))
        assert session.times == times[-len(session.times) :] and len(session.times) > 12
        assert len(kept(session)) == len(session.times)
        assert session._summaries.nbytes < 60 * 4 * 1024
        assert not list(tmp_path.iterdir())  # whatever becomes of the process, no file is left


@pytest.mark.parametrize("family", FAMILIES)
def test_no_more_frames_are_seen_at_once_than_can_be_read(loaded, family):
    """However many come, and of whatever sizes."""
    model = loaded(family)
    many = [*pictures(30), *pictures(9, size=(64, 48)), *pictures(9)]
    with model.session(SessionSettings(device_bytes=4 << 20)) as probe:
        steps = all_steps(probe, many, [float(at) for at in range(48)])
    largest = max(step.tokens for step in steps[1:])
    before = tensors()
    with (
        model.session(bounded(model, window=13 * largest, together=32)) as session,
        counted(session, before, 2) as counts,
    ):
        seen, blocks = [], session._model.blocks

        def watched(frames):
            found = blocks(frames)
            seen.append(len(found))
            assert sum(step.tokens for step in found) <= session._bounds.chunk_tokens
            assert sum(step.nbytes for step in found) <= session._bounds.waiting_bytes
            return found

        session._model.blocks = watched
        session.append_frames(many, [float(at) for at in range(48)])
        told(session.ask(QUESTION, max_tokens=4))
        assert 1 < max(seen) <= 4 and sum(seen) == 48
        slabs = session._stream.nbytes + session._question.nbytes
        assert slabs < max(counts) <= session._settings.device_bytes


def test_a_disk_that_takes_no_more_costs_the_oldest_and_not_the_stream(loaded, small_disk):
    model = loaded("qwen2_5_vl")
    settings = bounded(model, window=6 * 30, host_bytes=0, folder=small_disk)
    with model.session(settings) as session:
        session.append_frames(SHOWN, TIMES)
        filling = (small_disk / "filling").open("wb", buffering=0)
        with filling, contextlib.suppress(OSError):
            while True:
                filling.write(bytes(1 << 16))
        session.append_frames(SHOWN, [4000.0 + at for at in range(10)])
        assert session.forgotten > 0 and session.times[-1] == 4009.0
        assert told(session.ask(QUESTION, spans=[(0.0, 4000.0)], max_tokens=3))[0]


def test_a_stream_longer_than_the_model_knows_places_goes_on(loaded):
    model = loaded("llava_onevision", 640)
    settings = bounded(model, window=40, question_tokens=480)
    with model.session(settings) as session:
        for at in range(0, 100, 5):
            session.append_frames(SHOWN[:5], [float(at + n) for n in range(5)])
            assert session._next + settings.question_tokens <= 640
        assert session._moved and len(session.times) == 100
        starts = [block.start for block in session._recent]
        steps = np.diff(starts).tolist()
        assert steps == [block.width for block in session._recent[:-1]]
        read = session._model.read
        places: list[int] = []

        def watched(steps, start, *rest):
            places.append(start + sum(step.width for step in steps))
            return read(steps, start, *rest)

        session._model.read = watched
        assert told(session.ask("Q?", spans=[(3.0, 9.0)], max_tokens=8))[0]
        assert max(places) <= 640


@pytest.mark.parametrize("family", ["qwen3_vl", "llava_onevision"])
def test_what_moved_stands_where_it_says_and_in_order(loaded, family):
    """The mean keys of before anything moved are found again at the places of now."""
    import torch

    model = loaded(family, 1024)
    times = tuple(float(at) for at in range(70))
    with model.session(bounded(model, window=100)) as session:
        if family == "llava_onevision":
            session._model.context_tokens = 520  # whose frames are 4 tokens here
        shown = pictures(70, seed=5)
        session.append_frames(shown, times)
        assert session._moved and len(session.times) == 70
        steps = all_steps(session, shown, times)[1:]
        rows = session._summaries._rows

        def far_off(keys, block, place: int) -> float:
            mean = session._model.unturned_mean(keys, steps[block.number].places + place)
            own = torch.nn.functional.normalize(mean, dim=-1).flatten()
            return float((own - rows[block.number]).abs().max())

        with torch.inference_mode():
            at = session._head_tokens
            for block in session._recent:
                keys = session._stream.read(at, at + block.tokens).keys
                assert far_off(keys, block, block.start) < TOLERANCE
                at += block.tokens
            chosen = [session._blocks[number] for number in (2, 3, 30, 55, 69)]
            end = session._gather(chosen)
            at, place = session._head_tokens, session._head_width
            for block in chosen:
                both = session._question.read(at, at + block.tokens)
                assert far_off(both.keys, block, place) < TOLERANCE
                assert far_off(both.keys, block, place + 7) > 0.01
                assert np.array_equal(both.values.numpy(), kept(session)[block.time_seconds][1])
                at, place = at + block.tokens, place + block.width
            assert end == place


@pytest.mark.parametrize("family", FAMILIES)
def test_turned_keys_are_those_of_the_other_place(loaded, family):
    import torch

    session = loaded(family).session(SessionSettings(device_bytes=4 << 20))
    step = all_steps(session, SHOWN[:1], TIMES[:1])[1]
    written = {}
    for start in (3, 903):
        slab = session._model.slab(step.tokens)
        with torch.inference_mode():
            mask = torch.ones(step.tokens, step.tokens, dtype=torch.bool).tril()
            session._model.read([step], start, slab, mask)
        written[start] = slab.read(0, step.tokens).keys
    with torch.inference_mode():
        further = session._model.turned(written[3], 900)
        back = session._model.turned(written[903], -900)
    np.testing.assert_allclose(further.numpy(), written[903].numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(back.numpy(), written[3].numpy(), atol=TOLERANCE)
    assert not np.allclose(written[3].numpy(), written[903].numpy(), atol=0.01)


# What is looked back at


def test_given_spans_are_looked_back_at_wherever_they_lie(loaded, tmp_path):
    model = loaded("qwen3_vl")
    settings = bounded(model, window=100, host_bytes=40_000, folder=tmp_path)
    with model.session(settings) as session:
        session.append_frames(pictures(40), [float(at) for at in range(40)])
        assert session.disk_bytes and session.host_bytes
        chosen = session._choose(QUESTION, [(2.5, 4.0), (17.0, 18.5)], False, 8)
        times = [block.time_seconds for block in chosen]
        assert times == sorted(times)
        assert {2.0, 3.0, 17.0, 18.0, 39.0, 38.0} <= set(times)
        assert sum(block.tokens for block in chosen) <= session.context_tokens
        there = told(session.ask(QUESTION, spans=[(2.5, 4.0)], max_tokens=4, logprobs=True))
        elsewhere = told(session.ask(QUESTION, spans=[(9.5, 11.0)], max_tokens=4, logprobs=True))
        assert there != elsewhere
        # More than fits is thinned out.
        many = session._choose(QUESTION, [(0.0, 40.0)], False, 8)
        assert max(np.diff([block.time_seconds for block in many])) > 1.0
        assert min(block.time_seconds for block in many) < 6.0


@pytest.mark.parametrize("family", FAMILIES)
def test_nearness_is_the_cosine_of_queries_and_keys_before_they_are_turned(loaded, family):
    """Against what the layers' own projections give."""
    import torch

    model = loaded(family)
    with model.session(SessionSettings(device_bytes=4 << 20)) as session:
        layers = session._model._layers
        written: list[list[torch.Tensor]] = [[] for _ in layers]
        size = session._model.head_size

        def keep(at: int):
            return lambda _m, _i, out: written[at].append(out.reshape(out.shape[1], -1, size))

        hooks = [
            (
                getattr(layer.self_attn, "k_norm", None) or layer.self_attn.k_proj
            ).register_forward_hook(keep(at))
            for at, layer in enumerate(layers)
        ]
        for image, time in zip(SHOWN, TIMES, strict=True):
            session.append_frames([image], [time])
        for hook in hooks:
            hook.remove()
        with torch.inference_mode(), session._model.listening() as heard:
            session._read_question(QUESTION, session._blocks[-2:], 4)
        first, last = session._words
        near = session._summaries.nearness([each[first:last] for each in heard])
        step, *_ = session._model.asked(session._behind, QUESTION, TIMES[-2:])
        assert last - first == len(QUESTION) < step.tokens
    for number in range(len(TIMES)):
        cosines = []
        for at in range(len(layers)):
            keys = written[at][number].mean(dim=0)
            queries = heard[at][first:last].mean(dim=0)
            shared = queries.reshape(len(keys), -1, queries.shape[-1]).mean(dim=1)
            cosines.append(torch.cosine_similarity(keys, shared, dim=-1).mean())
        assert float(near[number]) == pytest.approx(float(torch.stack(cosines).mean()), abs=1e-5)


def test_the_nearest_are_brought_back(loaded):
    import torch

    model = loaded("qwen3_vl")
    with model.session(bounded(model, window=100)) as session, torch.inference_mode():
        session.append_frames(SHOWN * 4, [float(at) for at in range(40)])
        wanted = {3: 0.9, 20: 0.8}
        near = torch.tensor([wanted.get(number, 0.0) for number in range(40)])
        session._summaries.nearness = lambda _queries: near
        chosen = {block.number for block in session._choose(QUESTION, (), True, 8)}
        assert {3, 20, 39} <= chosen
        assert {3, 20} & {b.number for b in session._choose(QUESTION, (), False, 8)} == set()


def test_llava_is_told_no_more_times_than_it_can_read(loaded):
    from ingest.models.videollm.session_layout import layout_of

    told_ = layout_of("llava_onevision", "x").behind([float(at) for at in range(200)])
    assert "200 frames" in told_ and "One in 4" in told_ and told_.count(".00s,") == 49


# What is refused


def test_a_family_whose_memory_cannot_be_kept_is_refused(loaded):
    model = loaded("llava_onevision")
    model.load()
    kind, model._model.config.model_type = model._model.config.model_type, "gemma3"
    try:
        with pytest.raises(ModelMissingError, match=r"family gemma3.*Qwen3-VL, Qwen2.5-VL"):
            model.session()
    finally:
        model._model.config.model_type = kind


def test_bad_input_is_refused_and_changes_nothing(loaded):
    session = loaded("qwen3_vl").session(SessionSettings(device_bytes=4 << 20))
    session.append_frames(SHOWN[:2], TIMES[:2])
    before = session._stream.length
    for frames, times, why in (
        (SHOWN[:2], [3.0], "2 frames were given with 1 times"),
        (SHOWN[:2], [3.0, 3.0], "Times have to rise"),
        (SHOWN[:1], [2.5], "came after one at 2.5 s"),
        (SHOWN[:1], [float("nan")], "Times have to rise"),
        ([SHOWN[0].astype(np.float32)], [5.0], "uint8"),
        ([SHOWN[0][..., :1]], [5.0], "shape"),
    ):
        with pytest.raises(UsageError, match=why):
            session.append_frames(frames, times)
    with pytest.raises(UsageError, match="Ask what"):
        session.ask("?!")
    with pytest.raises(ContextOverflowError, match="Raise question_tokens"):
        next(session.ask(QUESTION, max_tokens=5000))
    assert session._stream.length == before and session.times == TIMES[:2]


def test_a_step_that_fails_leaves_the_memory_as_it_was(loaded):
    import torch

    with loaded("qwen3_vl").session(SessionSettings(device_bytes=4 << 20)) as session:
        session.append_frames(SHOWN[:3], TIMES[:3])
        before = kept(session)

        def full(*_args):
            raise torch.OutOfMemoryError("no")

        last = session._model._layers[-1].mlp
        forward, last.forward = last.forward, full
        try:
            with pytest.raises(ContextOverflowError, match="Lower device_bytes"):
                session.append_frames(SHOWN[3:5], TIMES[3:5])
        finally:
            last.forward = forward
        assert session.times == TIMES[:3]
        session.append_frames(SHOWN[3:5], TIMES[3:5])
        assert set(before) < set(kept(session))
        for time, (keys, values) in before.items():
            assert np.array_equal(kept(session)[time][0], keys)
            assert np.array_equal(kept(session)[time][1], values)


def test_bounds_without_room_are_refused_with_the_way_out(loaded):
    model = loaded("qwen3_vl")
    with pytest.raises(ContextOverflowError, match="Raise device_bytes"):
        model.session(SessionSettings(device_bytes=10_000))
    with pytest.raises(ContextOverflowError, match="smaller frames"):
        model.session(bounded(model, window=40)).append_frames(SHOWN[:1], [1.0])


def test_one_answer_at_a_time(loaded):
    session = loaded("qwen3_vl").session(SessionSettings(device_bytes=4 << 20))
    session.append_frames(SHOWN[:2], TIMES[:2])
    one = session.ask(QUESTION, max_tokens=9)
    next(one)
    with pytest.raises(VideoLLMError, match="still giving an answer"):
        next(session.ask(QUESTION, max_tokens=9))
    one.close()
    assert told(session.ask(QUESTION, max_tokens=9))[0]


def test_without_frames_it_answers_from_nothing(loaded):
    for family in FAMILIES:
        session = loaded(family).session(SessionSettings(device_bytes=4 << 20))
        assert told(session.ask("Hm?", max_tokens=8))[0]


def test_words_that_look_like_control_tokens_stay_words(loaded):
    session = loaded("qwen3_vl").session(SessionSettings(device_bytes=4 << 20))
    step, *_ = session._model.asked(session._behind, "<|im_end|>", [])
    usual, *_ = session._model.asked(session._behind, "<", [])
    assert step.tokens > usual.tokens + 5


def test_it_stops_where_it_is_told_to_and_when_all_is_said(loaded):
    session = loaded("qwen2_5_vl").session(SessionSettings(device_bytes=4 << 20))
    session.append_frames(SHOWN[:3], TIMES[:3])
    whole, _ = told(session.ask(QUESTION, max_tokens=30))
    word = whole[10:13]
    pieces = list(session.ask(QUESTION, max_tokens=30, stop=[word]))
    assert "".join(p.text for p in pieces) == whole[: whole.index(word)]
    assert pieces[-1].finish == "stop"
    session._ends = {session._model.tokenizer.convert_tokens_to_ids(whole[8])}
    short = list(session.ask(QUESTION, max_tokens=30))
    assert short[-1].finish == "stop" and len("".join(p.text for p in short)) < len(whole)


def test_importing_the_settings_loads_no_torch():
    import subprocess
    import sys

    code = (
        "import sys, ingest.models.videollm.session_settings, ingest.models.videollm.transformers;"
        "assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
