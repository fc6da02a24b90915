"""A study file as a sweep (``galc sweep``): a notebook executed for every run, tables, pages.

    plan     what there is to execute for a study file, checked before anything starts
    kernel   one notebook executed, in a warm kernel
    report   executed notebooks as pages, and the table of all runs
    cli      the commands

The parts of a command are not in the module that is executed: worker processes would import that, and torch with it.
"""
