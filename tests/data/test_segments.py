import copy
import json

import pytest
import torch
from tokenizers.processors import RobertaProcessing
from transformers import BertConfig, BertModel

from hamlearn.data.dataset import PostDataset
from hamlearn.data.segments import Segments
from hamlearn.data.sources import Sources
from hamlearn.data.visual import VisualReader
from hamlearn.data.windows import tokenize
from hamlearn.model.base import Sizes
from hamlearn.model.build import build_model
from hamlearn.settings import ModelSettings, TextSettings
from hamlearn.systems import Inputs, inputs_of
from tests.builders import CLASSES, make_posts

TEXT = "now great day for with"


def ids_of(tokenizer, text):
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def segments(tokenizer, *reads, room=128, texts=None, visual=None, one_segment=False):
    inputs = Inputs(one_segment=one_segment, reads=reads)
    return Segments(tokenizer, room, inputs, texts or {}, visual)


@pytest.fixture(params=["bert", "roberta"])
def pairing(request, tokenizer):
    """A tokenizer that makes pairs as BERT's does, and one as RoBERTa's."""
    made = copy.deepcopy(tokenizer)
    if request.param == "roberta":
        ends = [(name, made.convert_tokens_to_ids(name)) for name in ("[SEP]", "[CLS]")]
        made.backend_tokenizer.post_processor = RobertaProcessing(*ends, trim_offsets=False)
    return made


def test_a_post_and_a_text_are_the_pair_that_the_tokenizer_makes(pairing):
    posts = make_posts()[:4]
    texts = {"ocr": {post.id: TEXT for post in posts}}
    sources = Sources(segments=segments(pairing, "ocr", texts=texts))
    data = PostDataset(posts, pairing, TextSettings(), sources=sources)
    batch = data.batch(range(len(posts)))
    for row, post in enumerate(posts):
        pair = pairing([*post.words], TEXT.split(), is_split_into_words=True)
        size, sides = len(pair["input_ids"]), pair.sequence_ids(0)
        assert batch.input_ids[row, :size].tolist() == pair["input_ids"]
        assert batch.attention_mask[row].sum() == size
        of_token = zip(sides, pair.word_ids(0), strict=True)
        words = [-1 if side != 0 else word for side, word in of_token]
        assert batch.word_ids[row, :size].tolist() == words
        first = batch.segments[row].tolist().index(1)  # a second [SEP] belongs to the text
        assert first == size - sides[::-1].index(0) + 1
        assert batch.segments[row].sum() == size - first
        if 1 in pair.get("token_type_ids", ()):
            assert batch.segments[row, :size].tolist() == pair["token_type_ids"]


def test_texts_stand_behind_the_post_in_order_and_belong_to_no_word(paths, tokenizer):
    posts = make_posts()
    with VisualReader(objects=paths["objects"], inputs=Inputs(reads=("names",))) as pictures:
        texts = {"captions": {posts[0].image_id: "now great"}, "ocr": {posts[1].id: "day"}}
        reads = ("ocr", "names", "captions")
        own = segments(tokenizer, *reads, room=60, texts=texts, visual=pictures)
        settings = TextSettings(max_subtokens=60)
        data = PostDataset(posts, tokenizer, settings, sources=Sources(pictures, own))
        plain = [row for (row,) in tokenize([post.words for post in posts], tokenizer, 60)]
        seen = set()
        for index, post in enumerate(posts):
            found, alone = data[index].window, plain[index]
            length = len(alone.ids)
            assert found.ids[:length].tolist() == alone.ids.tolist()
            assert found.word_ids[:length].tolist() == alone.word_ids.tolist()
            assert set(found.word_ids[length:].tolist()) <= {-1}
            assert found.words == alone.words
            row = pictures.objects.row_of[post.image_id]
            count = pictures.objects.rows("counts", [row])[0]
            labels = pictures.objects.rows("labels", [row])[0, :count]
            names = " ".join(CLASSES[label] for label in labels if label < len(CLASSES))
            given = ["day" if index == 1 else "", names, "now great" if index == 0 else ""]
            expected = []
            for text in filter(None, given):
                expected += [*ids_of(tokenizer, text), tokenizer.sep_token_id]
            assert found.ids[length:].tolist() == expected
            assert found.segments.tolist() == [0] * length + [1] * len(expected)
            seen.add(bool(expected))
        assert seen == {True, False}
        batch = data.batch([0, 1])
        assert batch.visual.has_image.tolist() == [True, False]
        assert batch.visual.objects is None


def test_texts_are_cut_from_the_right_and_the_post_is_not(pairing):
    post = make_posts()[0]
    ((alone,),) = tokenize([post.words], pairing, 128)
    extra = len(pairing("a", "a")["input_ids"]) - len(pairing("a")["input_ids"]) - 2
    for room in range(9):
        texts = {"ocr": {post.id: "now in"}, "captions": {post.id: "for with so"}}
        own = segments(pairing, "ocr", "captions", room=len(alone.ids) + room, texts=texts)
        found = own.append_to(alone, post)
        assert len(found.ids) <= len(alone.ids) + room
        assert found.ids[: len(alone.ids)].tolist() == alone.ids.tolist()
        assert (len(found.ids) > len(alone.ids)) == (room >= 2 + extra)
        assert found.ids[-1] == pairing.sep_token_id
        first, second = (ids_of(pairing, text) for text in ("now in", "for with so"))
        kept = [one for one in found.ids[len(alone.ids) :].tolist() if one in first + second]
        assert kept == (first + second)[: len(kept)]


def test_the_texts_of_ita_have_the_token_type_of_the_post(tokenizer):
    posts = make_posts()[:3]
    texts = {"captions": {posts[0].id: TEXT}}
    own = Segments(tokenizer, 128, inputs_of("ita"), texts)
    data = PostDataset(posts, tokenizer, TextSettings(), sources=Sources(segments=own))
    assert data.batch(range(3)).segments is None
    assert len(data[0].window.ids) > len(posts[0].words) + 2


def test_labels_come_from_the_post_s_own_words(tokenizer):
    """The network on posts with texts is the library's encoder on pairs, cut to the words."""
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
    )
    encoder, text = BertModel(config, add_pooling_layer=False), TextSettings()
    model = ModelSettings(heads=2, class_width=8)
    network = build_model(encoder, "text_only", Sizes(labels=3), text, model).eval()
    posts = make_posts()[:5]
    texts = {"ocr": {post.id: TEXT for post in posts[:4]}}
    sources = Sources(segments=segments(tokenizer, "ocr", texts=texts))
    data = PostDataset(posts, tokenizer, text, sources=sources)
    with torch.inference_mode():
        batch = data.batch(range(5))
        found = network(batch).emissions
        untyped = copy.copy(batch)
        untyped.segments = None
        assert not torch.allclose(network(untyped).emissions[0], found[0], atol=1e-4)
        for row, post in enumerate(posts):
            pair = (TEXT.split(),) if row < 4 else ()
            given = tokenizer([*post.words], *pair, is_split_into_words=True, return_tensors="pt")
            hidden = encoder(**{name: given[name] for name in given}).last_hidden_state[0]
            words = torch.zeros(len(post.words), 16)
            for place, word in enumerate(given.word_ids(0)):
                if word is not None and given.sequence_ids(0)[place] == 0:
                    words[word] += hidden[place]
            sequence = torch.cat([hidden[:1], words])[None]  # [CLS] and the words alone
            mask = torch.ones(sequence.shape[:2], dtype=torch.bool)
            own = network.text.transformer(sequence, mask)[:, 1:]
            expected = network.emissions(network.transform(own))[0]
            torch.testing.assert_close(found[row, : len(post.words)], expected)


def test_facts_state_how_many_posts_have_each_text(tokenizer):
    posts = make_posts()
    texts = {"ocr": {"train_1": "a", "train_2": ""}, "captions": {}}
    sources = Sources(segments=segments(tokenizer, "ocr", "names", "captions", texts=texts))
    data = PostDataset(posts, tokenizer, TextSettings(), sources=sources)
    assert data.counts.texts == {"ocr": 1, "captions": 0}
    assert json.loads(data.counts.model_dump_json())["texts"] == {"ocr": 1, "captions": 0}
