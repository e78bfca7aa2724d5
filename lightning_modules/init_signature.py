"""What a class may be made with, where its `__init__` passes keywords on to its base class."""

from __future__ import annotations

import inspect
from inspect import Parameter, Signature
from typing import Any, ClassVar

_PASSED_ON = Parameter.VAR_KEYWORD


class KnowsItsKeywords:
    """Base of classes whose `inspect.signature` names what their ``**keywords`` take, as `init_signature` has it."""

    __signature__: ClassVar[Signature]

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        cls.__signature__ = init_signature(cls)


def init_signature(cls: type) -> Signature:
    """Return the parameters of a class, those included that its ``**keywords`` take for the base classes' sake.

    Keywords are followed from class to class as long as each ``__init__`` has a ``**`` parameter; of a base class the
    keyword-only parameters are meant, since what is positional there is what the class itself provides.

    Args:
        cls: Any class; `inspect.signature` of it is what this returns if it takes no ``**`` parameter.

    Returns:
        Own parameters first, then those of the base classes, in their order, each name once. A ``**`` parameter is
        left only where no base class says what it takes.
    """
    owners = [owner for owner in cls.__mro__ if "__init__" in vars(owner)]
    own = _without_self(owners[0])
    parameters = {parameter.name: parameter for parameter in own if parameter.kind is not _PASSED_ON}
    passed_on = next((parameter for parameter in own if parameter.kind is _PASSED_ON), None)
    for base in owners[1:]:
        if passed_on is None or base is object:
            break
        inherited = _without_self(base)
        for parameter in inherited:
            if parameter.kind is Parameter.KEYWORD_ONLY:
                parameters.setdefault(parameter.name, parameter)
        passed_on = next((parameter for parameter in inherited if parameter.kind is _PASSED_ON), None)
    if passed_on is not None:
        parameters[passed_on.name] = passed_on
    return Signature(list(parameters.values()))


def _without_self(owner: type) -> list[Parameter]:
    return list(inspect.signature(vars(owner)["__init__"]).parameters.values())[1:]
