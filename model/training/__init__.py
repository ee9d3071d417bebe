"""From a configuration to a bundle: simulation, networks, loss. Needs torch.

Order of imports: trainer > export, response > validation > simulation > loss,
network, optimizer > cell_network, decode_network.
"""
