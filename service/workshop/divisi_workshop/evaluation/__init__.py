"""How good a bundle is: the published protocol run through the serving Separator, as tables and files."""
