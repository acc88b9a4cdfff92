from typing import Any

AnsibleEnvironment: Any
_TemplateCompileContext: Any
_TEMPLATE_OVERRIDE_FIELD_NAMES: Any
