"""dlt's settings, in the environment because that is where it reads them.

Imported before any thread is started, and not when the first load needs them: setting the environment while other
threads read it (libpq does) can crash the process.
"""

import os

_SETTINGS = {
    "RUNTIME__DLTHUB_TELEMETRY": "false",
    "RUNTIME__LOG_LEVEL": "CRITICAL",
    "DATA_WRITER__DISABLE_COMPRESSION": "true",
    "NORMALIZE__WORKERS": "1",
    "NORMALIZE__DATA_WRITER__DISABLE_COMPRESSION": "true",
    "LOAD__WORKERS": "2",
    "LOAD__RAISE_ON_MAX_RETRIES": "1",
    "RESTORE_FROM_DESTINATION": "false",
}

for _name, _value in _SETTINGS.items():
    os.environ.setdefault(_name, _value)
