"""What perceives: one file a library, and where the weights come from."""

import os

# Official builds of ONNX Runtime report to their maker how they are used, under an id that
# they keep in the user's cache, unless this is set before they are loaded. Only this package loads
# it (a test holds that), so here is early enough. Somebody who sets it to 0 wants it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
