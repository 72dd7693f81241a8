"""Two tokenizers of one text: the bytes of tokens, where both cut, one's next tokens as the other's."""
