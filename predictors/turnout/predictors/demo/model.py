"""The demo's model: a scikit-learn classifier trained at start on the iris data set that scikit-learn ships.

The only place that imports scikit-learn and numpy, and only once a model is trained, so that the server's port
is open before. Training is deterministic: the same classifier always gives the same answers.
"""

from typing import Any

import msgspec

from turnout.predictors.oip import TensorMetadata

FEATURES = 4
CLASSIFIERS = ("logistic-regression", "random-forest", "decision-tree")
INPUTS = (TensorMetadata("input", "FP32", (-1, FEATURES)),)
OUTPUTS = (
    TensorMetadata("class", "INT64", (-1,)),
    TensorMetadata("label", "BYTES", (-1,)),
    TensorMetadata("probabilities", "FP64", (-1, 3)),
)
PLATFORM = "sklearn"


class MissingExtra(RuntimeError):
    """scikit-learn is not installed."""


class Prediction(msgspec.Struct, frozen=True):
    """What the model says of each row: the class number, its name, and the probability of each class."""

    classes: list[int]
    labels: list[str]
    probabilities: list[list[float]]


class IrisModel:
    """A trained classifier. `classifier` is one of CLASSIFIERS. Raises MissingExtra."""

    def __init__(self, classifier: str) -> None:
        try:
            from sklearn.datasets import load_iris
        except ImportError as error:
            raise MissingExtra("scikit-learn is missing: pip install 'turnout[demo]'") from error
        iris = load_iris()
        self._labels = [str(name) for name in iris.target_names]
        self._classifier = _make_classifier(classifier).fit(iris.data, iris.target)

    def predict(self, rows: list[list[float]]) -> Prediction:
        """Classify rows of FEATURES numbers each; there is at least one."""
        probabilities: list[list[float]] = self._classifier.predict_proba(rows).tolist()
        classes = [row.index(max(row)) for row in probabilities]
        return Prediction(classes, [self._labels[c] for c in classes], probabilities)


def _make_classifier(name: str) -> Any:
    if name == "logistic-regression":
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(max_iter=1000)
    if name == "random-forest":
        from sklearn.ensemble import RandomForestClassifier

        # n_jobs stays 1: at this size a thread pool costs more than the trees.
        return RandomForestClassifier(n_estimators=25, random_state=0, n_jobs=1)
    if name == "decision-tree":
        from sklearn.tree import DecisionTreeClassifier

        return DecisionTreeClassifier(random_state=0)
    raise ValueError(f"unknown classifier {name!r}")
