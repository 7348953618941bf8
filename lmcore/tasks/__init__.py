"""What a model learns from and is judged by: titles, arithmetic, a sentence."""
