"""All settings, from `COSTLEDGER_*` variables, a `.env` file or a TOML file.

Order of precedence: arguments, environment, `.env` in the working directory (or the file named by
`COSTLEDGER_ENV_FILE`), the TOML file named by `COSTLEDGER_CONFIG_FILE`, defaults. An unknown `COSTLEDGER_*`
name is an error, so that a typo is never silent.
"""

from costledger.schemas.settings.fields import CONFIG_FILE_VARIABLE, ENV_FILE_VARIABLE, PREFIX, Settings
from costledger.schemas.settings.loading import load_settings

__all__ = ["CONFIG_FILE_VARIABLE", "ENV_FILE_VARIABLE", "PREFIX", "Settings", "load_settings"]
