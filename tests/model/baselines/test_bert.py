import torch

from tests.model.tiny import tiny_tagger, usual_batch


def test_emissions_are_a_linear_map_of_the_sums_of_sub_tokens():
    batch = usual_batch()
    for system in ("bert", "bert_crf", "ita"):
        tagger = tiny_tagger(system)
        hidden = tagger.text.encoder(batch.input_ids, batch.attention_mask).last_hidden_state
        found = tagger(batch).emissions
        for row in range(len(batch)):
            for word in range(int(batch.word_mask[row].sum())):
                total = hidden[row, batch.word_ids[row] == word].sum(0)
                expected = tagger.emit.weight @ total + tagger.emit.bias
                torch.testing.assert_close(found[row, word], expected, atol=1e-5, rtol=1e-5)
        assert (tagger.crf is None) == (system == "bert")
