"""What runs on one machine in place of the cloud: a Cloud Storage emulator and the function, each its own process."""
