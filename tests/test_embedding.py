import shutil
import subprocess
import sys

import numpy as np
import pytest

from climb_engine.config import EmbeddingConfig
from climb_engine.curate.embedding import (
    SentenceEmbedder,
    StaticEmbedder,
    embed,
    load_embedder,
    unit_rows,
)
from climb_engine.types import ClimbError

WORDS = [
    "bread",
    "flour",
    "oven",
    "yeast",
    "dough",
    "star",
    "planet",
    "orbit",
    "comet",
    "moon",
    "judge",
    "court",
    "law",
    "verdict",
    "trial",
]
TEXTS = [
    "flour and yeast make dough",
    "moon",
    "",
    "the court heard the judge " * 40,
    "orbit comet star",
    "zzz qqq",
    "  ",
]

TOPICS = {
    "cooking": [
        "Fry the onions in butter until they are soft, then add the garlic and the tomatoes.",
        "Bake the dough in a hot oven until the crust of the bread is brown.",
        "Whisk the eggs with sugar, fold in the flour and pour the batter into a tin.",
        "Simmer the soup gently, season it with salt and pepper and serve with parsley.",
        "Marinate the chicken in lemon juice and olive oil before you grill it.",
        "Boil the potatoes, mash them with milk and sprinkle some grated cheese on top.",
    ],
    "astronomy": [
        "The telescope measured the light of a distant galaxy behind the cluster.",
        "A comet on a long orbit passed between the planets and the Sun.",
        "The supernova left a neutron star that spins many times per second.",
        "Astronomers found a planet by the small dip in the brightness of its star.",
        "Gravity pulls gas into a disc around the black hole in the galactic centre.",
        "The spacecraft photographed the rings of Saturn and the ice of its moons.",
    ],
    "law": [
        "The court held that the defendant had breached the contract and owed damages.",
        "The judge instructed the jury to disregard the statement of the witness.",
        "Under this statute a licence may be revoked after a hearing before the board.",
        "The plaintiff appealed the verdict, arguing that the evidence was inadmissible.",
        "Counsel filed a motion to dismiss the claim for lack of jurisdiction.",
        "The tenant shall pay the rent on the first day of each month under the lease.",
    ],
}


def tokenizer():
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS, "the", "and"])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def word_vectors(size=8):
    vectors = np.random.default_rng(0).normal(size=(tokenizer().get_vocab_size(), size)).astype(np.float32)
    vectors[1] = 0  # an unknown word says nothing
    return vectors


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One saved model of each kind that a user may have on disk."""
    root = tmp_path_factory.mktemp("models")
    save_model2vec(root / "model2vec")
    save_static(root / "static")
    save_transformer(root / "transformer")
    return root


def save_model2vec(folder):
    from model2vec import StaticModel

    StaticModel(word_vectors(), tokenizer()).save_pretrained(folder)


def save_static(folder):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import StaticEmbedding

    module = StaticEmbedding(tokenizer(), embedding_weights=word_vectors())
    SentenceTransformer(modules=[module], device="cpu").save(str(folder))


def save_transformer(folder):
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer(), model_max_length=64, **special)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(0)
    BertModel(BertConfig(vocab_size=len(fast), max_position_embeddings=64, **sizes)).save_pretrained(folder / "bare")
    fast.save_pretrained(folder / "bare")
    transformer = Transformer(str(folder / "bare"))
    SentenceTransformer(modules=[transformer, Pooling(16)], device="cpu").save(str(folder))


@pytest.fixture(
    params=[pytest.param("wordllama", marks=pytest.mark.network), "model2vec", "static", "transformer"],
)
def config(request, folders):
    name = request.param
    model = name if name == "wordllama" else str(folders / name)
    return EmbeddingConfig(model=model, batch_size=4)


@pytest.fixture
def embedder(config):
    return load_embedder(config, "cpu")


class TestEveryEmbedder:
    def test_rows_are_finite_float32_and_of_length_one(self, embedder):
        vectors = embedder(TEXTS)
        assert vectors.dtype == np.float32
        assert vectors.shape == (len(TEXTS), embedder.dimensions)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)

    def test_the_texts_beside_it_do_not_change_a_vector(self, embedder):
        together = embedder(TEXTS)
        alone = np.concatenate([embedder([text]) for text in TEXTS])
        np.testing.assert_allclose(together, alone, atol=1e-5)

    def test_different_texts_get_different_vectors(self, embedder):
        bread, star = embedder(["bread", "star"])
        assert bread @ star < 0.99

    def test_embed_gives_the_original_order_whatever_the_batch_size(self, embedder):
        expected = embedder(TEXTS)
        for batch_size in (1, 3, 100):
            vectors = embed(TEXTS, embedder, batch_size)
            assert vectors.dtype == np.float16
            np.testing.assert_allclose(vectors, expected, atol=1e-3)

    def test_texts_alike_up_to_max_tokens_get_the_same_vector(self, config):
        cut = load_embedder(config.model_copy(update={"max_tokens": 12}), "cpu")
        start = "the court and the judge and the law " * 3  # 24 tokens, 108 characters
        np.testing.assert_allclose(*cut([start + "star", start + "bread oven"]), atol=1e-5)
        assert not np.allclose(*cut(["star " + start, "bread " + start]), atol=1e-3)

    def test_the_prompt_goes_before_every_text(self, config, embedder):
        prompted = load_embedder(config.model_copy(update={"prompt": "moon and "}), "cpu")
        np.testing.assert_allclose(prompted(["star", "law"]), embedder(["moon and star", "moon and law"]), atol=1e-5)

    def test_the_name_says_which_model_it_is(self, config, embedder):
        assert embedder.name == config.model


def test_each_folder_is_loaded_by_the_library_that_made_it(folders):
    kinds = {path.name: type(load_embedder(EmbeddingConfig(model=str(path)), "cpu")) for path in folders.iterdir()}
    assert kinds == {"model2vec": StaticEmbedder, "static": SentenceEmbedder, "transformer": SentenceEmbedder}


def test_a_models_own_token_limit_is_not_raised(folders):
    embedder = load_embedder(EmbeddingConfig(model=str(folders / "transformer"), max_tokens=10_000), "cpu")
    assert embedder.model.max_seq_length == 64


def test_a_model_that_may_run_its_own_code_still_loads_when_it_has_none(folders):
    config = EmbeddingConfig(model=str(folders / "transformer"), trust_remote_code=True)
    assert load_embedder(config, "cpu").dimensions == 16


@pytest.mark.network
def test_static_word_vectors_need_no_torch():
    code = (
        "import sys; from climb_engine.config import EmbeddingConfig\n"
        "from climb_engine.curate.embedding import embed, load_embedder\n"
        "embed(['one', 'two'], load_embedder(EmbeddingConfig()), 8); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.network
def test_wordllama_puts_texts_of_one_topic_next_to_each_other():
    texts = [text for topic in TOPICS.values() for text in topic]
    topics = np.repeat(list(TOPICS), [len(topic) for topic in TOPICS.values()])
    vectors = embed(texts, load_embedder(EmbeddingConfig()), 4).astype(np.float32)
    similarity = vectors @ vectors.T
    np.fill_diagonal(similarity, -1)
    assert (topics[similarity.argmax(axis=1)] == topics).mean() > 0.9


def test_progress_adds_up_to_all_texts_and_the_longest_come_first(folders):
    embedder = load_embedder(EmbeddingConfig(model=str(folders / "model2vec")))
    lengths, done = [], []

    class Watched:
        name, dimensions = embedder.name, embedder.dimensions

        def __call__(self, texts):
            lengths.extend(map(len, texts))
            return embedder(texts)

    embed(TEXTS, Watched(), 3, done.append)
    assert done == [3, 3, 1]
    assert lengths == sorted(map(len, TEXTS), reverse=True)


def test_no_texts_give_no_rows(folders):
    embedder = load_embedder(EmbeddingConfig(model=str(folders / "model2vec")))
    assert embed([], embedder, 8).shape == (0, 8)


def test_all_texts_without_a_known_token_share_one_vector(folders):
    embedder = load_embedder(EmbeddingConfig(model=str(folders / "model2vec")))
    empty, unknown = embedder(["", "zzz qqq"])
    np.testing.assert_array_equal(empty, unknown)
    np.testing.assert_allclose(empty, 1 / np.sqrt(8), atol=1e-6)


def test_tiny_and_huge_rows_become_unit_rows_too():
    rows = unit_rows([[1e-30, 0], [1e30, 1e30], [0, 0], [-3, 4]])
    half = np.sqrt(0.5)
    np.testing.assert_allclose(rows, [[1, 0], [half, half], [half, half], [-0.6, 0.8]], atol=1e-6)


def test_a_vector_that_is_not_finite_is_an_error_not_a_silent_row():
    with pytest.raises(ClimbError, match=r"broken-model gave no finite vector for 1 of 2 documents"):
        unit_rows([[1, 0], [np.nan, 1]], "broken-model")


def test_a_model_that_overflows_in_half_precision_goes_on_in_single():
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Dense, StaticEmbedding

    static = StaticEmbedding(tokenizer(), embedding_weights=word_vectors())
    dense = Dense(8, 4, bias=False, activation_function=torch.nn.Identity(), init_weight=torch.eye(4, 8) * 6e4)
    model = SentenceTransformer(modules=[static, dense], device="cpu").half()
    assert not np.isfinite(model.encode(WORDS, show_progress_bar=False)).all()  # else this test shows nothing
    vectors = SentenceEmbedder("loud", 4, model, "", 1000, 8)(WORDS)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)


def test_a_model_that_is_nowhere_says_what_can_be_had(tmp_path):
    for model in (str(tmp_path / "no-such-folder"), "no such model"):
        with pytest.raises(ClimbError, match=r"there is no such folder.*'wordllama'"):
            load_embedder(EmbeddingConfig(model=model))


def test_a_folder_without_a_model_is_an_error_that_names_it(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ClimbError, match=r"could not be loaded"):
        load_embedder(EmbeddingConfig(model=str(tmp_path)), "cpu")


def test_a_gpu_that_is_not_there_is_an_error_that_names_the_knob(folders):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ClimbError, match=r"machine.device = 'cuda:0'"):
        load_embedder(EmbeddingConfig(model=str(folders / "static")), "cuda:0")


@pytest.fixture
def no_network(tmp_path, monkeypatch):
    """An empty cache of the hub, and no hub."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", ["model2vec", "static"])
def test_without_a_network_a_hub_id_comes_from_the_cache(kind, folders, no_network):
    commit = "0123456789abcdef0123456789abcdef01234567"
    cached = no_network / "models--someone--tiny"
    shutil.copytree(folders / kind, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    by_id = load_embedder(EmbeddingConfig(model="someone/tiny"), "cpu")
    assert by_id.name == f"someone/tiny@{commit}"
    by_path = load_embedder(EmbeddingConfig(model=str(folders / kind)), "cpu")
    np.testing.assert_array_equal(by_id(TEXTS), by_path(TEXTS))


@pytest.mark.usefixtures("no_network")
def test_without_a_network_and_a_cached_model_the_error_says_so():
    with pytest.raises(ClimbError, match=r"hub cannot be reached, and its cache here lacks it. Give 'wordllama'"):
        load_embedder(EmbeddingConfig(model="someone/else"))
