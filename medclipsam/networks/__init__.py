"""Networks that learn from masks and texts: pure torch, each keeps `contract.SupervisedNetwork`.

settings (no torch) --registry.build--> SupervisedNetwork --losses--> training/supervised
                                               '------probability--> methods/supervised
"""
