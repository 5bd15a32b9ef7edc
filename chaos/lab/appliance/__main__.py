"""`python -m chaos.lab.appliance worker|gateway|supervise`: starts a part.

The supervisor is started without what the others import: on an emulated host that is a second of its life.
"""

import sys

if sys.argv[1:3] == ["supervise", "--"] and sys.argv[3:]:
    from chaos.lab.appliance.supervise import supervise

    sys.exit(supervise(sys.argv[3:]))
else:
    from chaos.lab.appliance.command_line import main

    sys.exit(main())
