from typing import Any

# A class with a metaclass of its own and methods that callbacks replace.
Display: Any
