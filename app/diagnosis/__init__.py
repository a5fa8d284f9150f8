"""What is wrong with a deployment, in plain words: each check looks, and says what to do."""
