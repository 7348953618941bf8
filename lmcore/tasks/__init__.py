"""What a model is trained and scored on: text, titles, arithmetic, a sentence, rows of any data."""
