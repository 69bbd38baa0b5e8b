"""The local stand-ins for the cloud: a Cloud Storage emulator and the function, each in its own process."""
