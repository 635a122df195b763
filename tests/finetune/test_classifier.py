import torch

from sdpn.finetune.classifier import Classifier


def test_scores_are_the_cosines_with_the_classes():
    classifier = Classifier(5, 3).double()
    embeddings = torch.randn(2, 7, 3).double()
    for index in range(5):
        expected = torch.nn.functional.cosine_similarity(embeddings, classifier.weight[index], dim=2)
        torch.testing.assert_close(classifier(embeddings)[..., index], expected)


def test_of_several_centres_of_a_class_the_nearest_counts():
    classifier = Classifier(4, 3, sub_centres=2)
    embeddings = torch.randn(6, 3)
    cosines = torch.nn.functional.cosine_similarity(embeddings[:, None], classifier.weight[None], dim=2)
    expected = torch.stack([cosines[:, 2 * k : 2 * k + 2].max(dim=1).values for k in range(4)], dim=1)
    torch.testing.assert_close(classifier(embeddings), expected)
