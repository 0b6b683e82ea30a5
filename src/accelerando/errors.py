"""The errors this library raises on purpose.

AccelerandoError
├── HyperparameterError (ValueError)      a setting is outside its range, or unknown
├── RuleError (TypeError)                 a method's functions leave the rule grammar
├── UnsupportedTensorError (TypeError)    a parameter or gradient no rule can step
├── StateError (RuntimeError)             a state dict that does not fit, or a step in the wrong mode
├── RecordingError (RuntimeError)         a lens recording that cannot be read or written
├── BackendUnavailable (RuntimeError)     a backend was demanded and cannot run
├── SpecError (ValueError)                a comparison that cannot be meant: a strategy, a grid, a seed count
├── TaskError (ValueError)                a comparison's task is unusable: its fields, its data or its source
└── StoreError (RuntimeError)             a folder of records that cannot be read or written

Every message names the owner, the field, the constraint, the value and the place, then the way out.
"""


class AccelerandoError(Exception):
    """The root of every error raised on purpose."""


class HyperparameterError(AccelerandoError, ValueError):
    """A setting is outside its range, or unknown."""


class RuleError(AccelerandoError, TypeError):
    """A method's functions leave the rule grammar."""


class UnsupportedTensorError(AccelerandoError, TypeError):
    """A parameter or gradient that no rule can step."""


class StateError(AccelerandoError, RuntimeError):
    """A state dict that does not fit the optimizer."""


class RecordingError(AccelerandoError, RuntimeError):
    """A lens recording that cannot be read or written."""


class BackendUnavailable(AccelerandoError, RuntimeError):
    """A backend was demanded by name and cannot run here."""


class SpecError(AccelerandoError, ValueError):
    """A comparison that cannot be meant: a strategy, a grid of rates, a number of seeds."""


class TaskError(AccelerandoError, ValueError):
    """A comparison's task is unusable: its fields, its frozen data or its source."""


class StoreError(AccelerandoError, RuntimeError):
    """A folder of records that cannot be read or written."""


class BackendWarning(UserWarning):
    """What was chosen, and why, where a user may have expected something else; said once."""


class ModeWarning(UserWarning):
    """A model is evaluated with the weights of training, or trained with those of evaluation; said once."""
