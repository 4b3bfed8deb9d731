"""What an operator declares: ``inhouse.toml``, overridden by ``INHOUSE_A__B`` in the environment.

Read once, frozen, strict: an unknown key is an error that names its path. What the system learns
(routes, statuses, decisions) is never here, only in the database.
"""

from inhouse.settings.declared import (
    FILE_NAME,
    STATE_FOLDER,
    BreakerSettings,
    DatabaseSettings,
    LimitSettings,
    Price,
    RecordingSettings,
    ServerSettings,
    Settings,
    StoreSettings,
    UpstreamSettings,
    load_settings,
)
from inhouse.settings.notify import ChannelSettings, NotifySettings
from inhouse.settings.tasks import OnFailure, RolloutSettings, TaskSettings, TrainingSettings

__all__ = [
    "FILE_NAME",
    "STATE_FOLDER",
    "BreakerSettings",
    "ChannelSettings",
    "DatabaseSettings",
    "LimitSettings",
    "NotifySettings",
    "OnFailure",
    "Price",
    "RecordingSettings",
    "RolloutSettings",
    "ServerSettings",
    "Settings",
    "StoreSettings",
    "TaskSettings",
    "TrainingSettings",
    "UpstreamSettings",
    "load_settings",
]
