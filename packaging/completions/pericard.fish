# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_pericard_global_optspecs
    string join \n h/help V/version
end

function __fish_pericard_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_pericard_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_pericard_using_subcommand
    set -l cmd (__fish_pericard_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c pericard -n "__fish_pericard_needs_command" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_needs_command" -s V -l version -d 'Print version'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "serve" -d 'Run the appliance'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "demo" -d 'Show the whole product on loopback: real samples, real models, results, one chat'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "check" -d 'Validate the configuration; a wrong key is named with its line. With --study: which rules a study would meet'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "doctor" -d 'Compare this machine with what it should be: each line ok, warn or fail, why, and what to do'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "submit" -d 'Send DICOM files or folders to a running appliance'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "jobs" -d 'The queue: what waits, what runs, what failed and why'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "model" -d 'Model packages: what is imported, what is live'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "audit" -d 'The audit log: show, verify, export'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "egress" -d 'What leaves the hospital, before it leaves: shown, held back, sent to the enrolled hub'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "backup" -d 'Make a backup while the appliance serves, or read one through'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "restore" -d 'Turn a backup into a data directory again, in an empty place'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "erase" -d 'Erase a study on purpose: objects, results, jobs, and on request what the audit log says of it'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "deidentify" -d 'Clean a folder of images for research: names, numbers, dates and text in the pixels go; what cannot be cleaned stays'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "token" -d 'Bearer tokens for the HTTPS API'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "worker" -d 'Started by the appliance, never by hand: parses strangers\' bytes, or runs one model, behind walls'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "reload" -d 'Run by `systemctl reload`, never by hand: has the service read its configuration again, and tells what became of it'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "cert" -d 'The HTTPS door\'s certificate: made here, or signed by the hospital\'s authority'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "hub" -d 'The national side, which no hospital runs: takes frames, warns of models, shows how they do'
complete -c pericard -n "__fish_pericard_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand serve" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand serve" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand demo" -l dir -d 'Where to keep everything; a new directory under the system\'s temporary one when not given' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand demo" -l onnxruntime -d 'ONNX Runtime\'s shared library, when it is not where packages or the build helper put it' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand demo" -l models -d 'Model packages, likewise' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand demo" -l samples -d 'Sample studies, likewise' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand demo" -l exit -d 'Stop when everything has been shown'
complete -c pericard -n "__fish_pericard_using_subcommand demo" -l no-samples -d 'Start the appliance without sending the sample studies'
complete -c pericard -n "__fish_pericard_using_subcommand demo" -l hub -d 'Start a national hub and a handful of simulated hospitals, too, and print the address of its dashboard'
complete -c pericard -n "__fish_pericard_using_subcommand demo" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand check" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand check" -l study -d 'Say what the rules would do with the studies in this folder, and why' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand check" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand doctor" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand doctor" -l profile -d 'What this machine should be: clinic-cpu, gpu-24gb, gpu-80gb, gpu-mig, apple-silicon; guessed from its GPUs when not given' -r
complete -c pericard -n "__fish_pericard_using_subcommand doctor" -l root -d 'Look at a recorded machine instead: /proc, /sys, /etc, /dev and /usr below DIR, and what programs said in DIR/programs' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand doctor" -l json -d 'Print JSON, for fleet tools'
complete -c pericard -n "__fish_pericard_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand submit" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand submit" -l ae-title -d 'What to call ourselves' -r
complete -c pericard -n "__fish_pericard_using_subcommand submit" -l sample -d 'Send the sample study that is shipped: an ultrasound with text in its pixels'
complete -c pericard -n "__fish_pericard_using_subcommand submit" -l wait -d 'Wait until the studies\' jobs have ended, and print their results'
complete -c pericard -n "__fish_pericard_using_subcommand submit" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand submit" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and not __fish_seen_subcommand_from list show expected retry cancel help" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and not __fish_seen_subcommand_from list show expected retry cancel help" -f -a "list" -d 'List jobs, latest first'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and not __fish_seen_subcommand_from list show expected retry cancel help" -f -a "show" -d 'Show one job: its work, its state, why it failed'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and not __fish_seen_subcommand_from list show expected retry cancel help" -f -a "expected" -d 'List what worklists and order messages say will come, latest said first'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and not __fish_seen_subcommand_from list show expected retry cancel help" -f -a "retry" -d 'Put a failed or cancelled job back into the queue'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and not __fish_seen_subcommand_from list show expected retry cancel help" -f -a "cancel" -d 'Cancel a waiting job'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and not __fish_seen_subcommand_from list show expected retry cancel help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from list" -l state -d 'Only those in this state: waiting, leased, done, failed, cancelled' -r
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from list" -l study -d 'Only those of this study' -r
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from list" -l limit -d 'At most so many' -r
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from show" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from expected" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from expected" -l limit -d 'At most so many' -r
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from expected" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from expected" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from retry" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from retry" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from cancel" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from cancel" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from help" -f -a "list" -d 'List jobs, latest first'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show one job: its work, its state, why it failed'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from help" -f -a "expected" -d 'List what worklists and order messages say will come, latest said first'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from help" -f -a "retry" -d 'Put a failed or cancelled job back into the queue'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from help" -f -a "cancel" -d 'Cancel a waiting job'
complete -c pericard -n "__fish_pericard_using_subcommand jobs; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand model; and not __fish_seen_subcommand_from import list show verify activate retire help" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand model; and not __fish_seen_subcommand_from import list show verify activate retire help" -f -a "import" -d 'Import a package: a directory, or a tar of one'
complete -c pericard -n "__fish_pericard_using_subcommand model; and not __fish_seen_subcommand_from import list show verify activate retire help" -f -a "list" -d 'List the imported packages'
complete -c pericard -n "__fish_pericard_using_subcommand model; and not __fish_seen_subcommand_from import list show verify activate retire help" -f -a "show" -d 'Show what a package says of itself'
complete -c pericard -n "__fish_pericard_using_subcommand model; and not __fish_seen_subcommand_from import list show verify activate retire help" -f -a "verify" -d 'Check every byte of a package against its manifest'
complete -c pericard -n "__fish_pericard_using_subcommand model; and not __fish_seen_subcommand_from import list show verify activate retire help" -f -a "activate" -d 'Make a version the one that rules mean by its name; taken up when the appliance starts'
complete -c pericard -n "__fish_pericard_using_subcommand model; and not __fish_seen_subcommand_from import list show verify activate retire help" -f -a "retire" -d 'Take a version out of use for good; taken up when the appliance starts'
complete -c pericard -n "__fish_pericard_using_subcommand model; and not __fish_seen_subcommand_from import list show verify activate retire help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from import" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from import" -l activate -d 'Make it live at once'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from import" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from show" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from verify" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from activate" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from activate" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from retire" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from retire" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "import" -d 'Import a package: a directory, or a tar of one'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the imported packages'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show what a package says of itself'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Check every byte of a package against its manifest'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "activate" -d 'Make a version the one that rules mean by its name; taken up when the appliance starts'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "retire" -d 'Take a version out of use for good; taken up when the appliance starts'
complete -c pericard -n "__fish_pericard_using_subcommand model; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and not __fish_seen_subcommand_from show verify export help" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and not __fish_seen_subcommand_from show verify export help" -f -a "show" -d 'Show lines, oldest first'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and not __fish_seen_subcommand_from show verify export help" -f -a "verify" -d 'Recompute the whole log against its signed checkpoint: finds any flipped byte, dropped line or truncation'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and not __fish_seen_subcommand_from show verify export help" -f -a "export" -d 'Write the log as C2SP tlog-tiles, to be verified without this program, as /usr/share/pericard/audit/verify.py does'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and not __fish_seen_subcommand_from show verify export help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from show" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from show" -l from -d 'From this line on' -r
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from show" -l limit -d 'At most so many' -r
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from show" -l subject -d 'Only lines whose subject holds this: a study, an object, a job' -r
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from show" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from show" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from verify" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from verify" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from verify" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from export" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from export" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "show" -d 'Show lines, oldest first'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "verify" -d 'Recompute the whole log against its signed checkpoint: finds any flipped byte, dropped line or truncation'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "export" -d 'Write the log as C2SP tlog-tiles, to be verified without this program, as /usr/share/pericard/audit/verify.py does'
complete -c pericard -n "__fish_pericard_using_subcommand audit; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "preview" -d 'Show every number that would be sent: counted since the start, or a week\'s frame'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "ledger" -d 'Show every week that became a frame, what it cost of the privacy budget, and where it stands with the hub'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "plans" -d 'List the evaluation plans that the hub has sent, and where each stands'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "accept-plan" -d 'Accept an evaluation plan: the live model is scored on labelled studies that are held here, and the week\'s frame tells of it with noise'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "enrol-request" -d 'Make the gate\'s keys and print the request that is carried to the hub'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "enrol" -d 'Install what the hub gave back, after checking that the hub\'s key signed it and that it answers our request'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "run" -d 'Send to the hub, one frame in each slot; without an enrolled hub it ends at once and opens no socket'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "hold" -d 'Hold frames back: one, or all, those to come too. Those behind a frame that is held wait for it'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "release" -d 'Take a hold away: that of one frame, or that of all'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "carry" -d 'Write every signed frame that may go into a folder, to be carried to the hub by hand'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "take" -d 'Take the hub\'s replies that were carried back, after checking their signatures'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and not __fish_seen_subcommand_from preview ledger plans accept-plan enrol-request enrol run hold release carry take help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from preview" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from preview" -l frame -d 'The number of a week\'s frame, from `pericard egress ledger`' -r
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from preview" -l json -d 'Print JSON, with the frame\'s bytes'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from preview" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from ledger" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from ledger" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from ledger" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from plans" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from plans" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from accept-plan" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from accept-plan" -l labels -d 'A file of labels: a line each, a Study Instance UID, a comma, 1 with the finding or 0 without' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from accept-plan" -l officer -d 'Whose decision it is, for the audit log: a name or a role, without line breaks' -r
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from accept-plan" -l yes -d 'Accept it although the year\'s budget then does not pay for all of its weeks: the last of them tell nothing of patients'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from accept-plan" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from enrol-request" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from enrol-request" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from enrol" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from enrol" -l hub-key -d 'The hub\'s key as its operator reads it out, by telephone' -r
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from enrol" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from run" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from run" -l once -d 'Take one slot now, then end'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from run" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from hold" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from hold" -l frame -d 'Only this one' -r
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from hold" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from release" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from release" -l frame -d 'Only this one' -r
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from release" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from carry" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from carry" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from take" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from take" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "preview" -d 'Show every number that would be sent: counted since the start, or a week\'s frame'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "ledger" -d 'Show every week that became a frame, what it cost of the privacy budget, and where it stands with the hub'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "plans" -d 'List the evaluation plans that the hub has sent, and where each stands'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "accept-plan" -d 'Accept an evaluation plan: the live model is scored on labelled studies that are held here, and the week\'s frame tells of it with noise'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "enrol-request" -d 'Make the gate\'s keys and print the request that is carried to the hub'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "enrol" -d 'Install what the hub gave back, after checking that the hub\'s key signed it and that it answers our request'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "run" -d 'Send to the hub, one frame in each slot; without an enrolled hub it ends at once and opens no socket'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "hold" -d 'Hold frames back: one, or all, those to come too. Those behind a frame that is held wait for it'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "release" -d 'Take a hold away: that of one frame, or that of all'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "carry" -d 'Write every signed frame that may go into a folder, to be carried to the hub by hand'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "take" -d 'Take the hub\'s replies that were carried back, after checking their signatures'
complete -c pericard -n "__fish_pericard_using_subcommand egress; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand backup" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand backup" -l keep -d 'How many backups the folder keeps' -r
complete -c pericard -n "__fish_pericard_using_subcommand backup" -l reread -d 'Also read again what the folder has already, and copy anew what was altered'
complete -c pericard -n "__fish_pericard_using_subcommand backup" -l check -d 'Make none: read the latest backup through and compare every file with its manifest'
complete -c pericard -n "__fish_pericard_using_subcommand backup" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand backup" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand restore" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand restore" -l name -d 'Which backup, as `pericard backup` named it; the latest when not said' -r
complete -c pericard -n "__fish_pericard_using_subcommand restore" -l accept-losses -d 'Leave out objects whose copy was altered, and show them as missing'
complete -c pericard -n "__fish_pericard_using_subcommand restore" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand restore" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand erase" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand erase" -l audit -d 'Also erase what the audit log says of it; the log still verifies, and names the study by a digest only'
complete -c pericard -n "__fish_pericard_using_subcommand erase" -l yes -d 'Really erase it: nothing brings it back but a backup'
complete -c pericard -n "__fish_pericard_using_subcommand erase" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand erase" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand deidentify" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand deidentify" -l out -d 'Where the cleaned images go: a folder that is empty, or not there yet' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand deidentify" -l keep -d 'What is kept that the Basic Profile would take out (PS3.15 table E.1-1)' -r -f -a "uids\t'UIDs'
device\t'What tells one device from another'
institution\t'Where it was made'
patient-characteristics\t'Sex, age, size, weight and the like'
full-dates\t'Dates and times as they are'
shifted-dates\t'Dates put back by the same number of days for everything of one patient'"
complete -c pericard -n "__fish_pericard_using_subcommand deidentify" -l key -d 'The site\'s secret, 32 bytes: the same pseudonyms come of the same secret. Without it, the data directory\'s own' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand deidentify" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c pericard -n "__fish_pericard_using_subcommand token; and not __fish_seen_subcommand_from issue list revoke help" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand token; and not __fish_seen_subcommand_from issue list revoke help" -f -a "issue" -d 'Issue a token; its secret is printed once and kept only as a hash'
complete -c pericard -n "__fish_pericard_using_subcommand token; and not __fish_seen_subcommand_from issue list revoke help" -f -a "list" -d 'List the tokens, without their secrets'
complete -c pericard -n "__fish_pericard_using_subcommand token; and not __fish_seen_subcommand_from issue list revoke help" -f -a "revoke" -d 'Revoke a token at once'
complete -c pericard -n "__fish_pericard_using_subcommand token; and not __fish_seen_subcommand_from issue list revoke help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from issue" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from issue" -l label -d 'What it is for' -r
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from issue" -l role -d 'What it allows: clinician, modality, ml-admin, auditor, security-admin, monitor' -r
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from issue" -l days -d 'For how many days it is good' -r
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from issue" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from issue" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from list" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from list" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from revoke" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from revoke" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "issue" -d 'Issue a token; its secret is printed once and kept only as a hash'
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "list" -d 'List the tokens, without their secrets'
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "revoke" -d 'Revoke a token at once'
complete -c pericard -n "__fish_pericard_using_subcommand token; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand worker" -l attempt -d 'Work no more once locked in, but try the walls from inside as told. Harmless: whatever is tried is either denied or does nothing, and whoever can start this could try the same without it'
complete -c pericard -n "__fish_pericard_using_subcommand worker" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand reload" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand reload" -l pid -d 'The process that serves' -r
complete -c pericard -n "__fish_pericard_using_subcommand reload" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and not __fish_seen_subcommand_from init request install help" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and not __fish_seen_subcommand_from init request install help" -f -a "init" -d 'Make the certificate that the first start would make, and show its fingerprint and what clients must trust'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and not __fish_seen_subcommand_from init request install help" -f -a "request" -d 'Make a key, and print the request that the hospital\'s authority signs'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and not __fish_seen_subcommand_from init request install help" -f -a "install" -d 'Install what the authority gave back, after checking that it fits the key, the chain, the names and the time'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and not __fish_seen_subcommand_from init request install help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from init" -l config -d 'The configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from init" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from request" -l name -d 'A name or address that clients call this appliance by; the first is its common name' -r
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from request" -l dir -d 'Where the key waits for its certificate' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from request" -l again -d 'Make another key although one waits: what is signed for that one can then not be installed any more'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from request" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from install" -l authority -d 'The authority\'s certificate, PEM, when the chain does not hold it' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from install" -l name -d 'A name that clients call this appliance by; refused when the certificate is not good for it' -r
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from install" -l dir -d 'Where the key waits, and where both go' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from install" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from help" -f -a "init" -d 'Make the certificate that the first start would make, and show its fingerprint and what clients must trust'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from help" -f -a "request" -d 'Make a key, and print the request that the hospital\'s authority signs'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from help" -f -a "install" -d 'Install what the authority gave back, after checking that it fits the key, the chain, the names and the time'
complete -c pericard -n "__fish_pericard_using_subcommand cert; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "serve" -d 'Run the hub: takes hospitals\' frames, shows the dashboard at its door'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "check" -d 'Validate the configuration; a wrong key is named with its line'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "key" -d 'Print the hub\'s key, to be read out to hospitals by telephone'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "enrol" -d 'Enrol an appliance from the request of `pericard egress enrol-request`; prints what is carried back'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "hospitals" -d 'List the enrolled appliances'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "suspend" -d 'Refuse an appliance\'s frames for the time being'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "resume" -d 'Take a suspended appliance\'s frames again'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "model" -d 'The catalogue of models: which number stands for which manifest'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "advisory" -d 'Recalls and advisories, signed and sent with every reply'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "alarm" -d 'Alarms: what was refused and should be looked into, until it is closed'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "evaluation" -d 'Federated evaluation: signed plans, which hospitals may carry out on cases of their own'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "token" -d 'Who may look at the dashboard and use the read API'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "take" -d 'Take frames that were carried here as files; writes the reply to each beside it, to be carried back'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "audit" -d 'The hub\'s own audit log'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "backup" -d 'Write database and keys into a new folder, while the hub serves; put back, the folder is a data directory'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and not __fish_seen_subcommand_from serve check key enrol hospitals suspend resume model advisory alarm evaluation token take audit backup help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from serve" -l config -d 'The hub\'s configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from serve" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from check" -l config -d 'The hub\'s configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from key" -l config -d 'The hub\'s configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from key" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from enrol" -l config -d 'The hub\'s configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from enrol" -l name -d 'What the hospital is called on the dashboard' -r
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from enrol" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from hospitals" -l config -d 'The hub\'s configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from hospitals" -l json -d 'Print JSON'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from hospitals" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from suspend" -l config -d 'The hub\'s configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from suspend" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from resume" -l config -d 'The hub\'s configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from resume" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from model" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from model" -f -a "add" -d 'Add a model to the catalogue'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from model" -f -a "list" -d 'List the catalogue'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from model" -f -a "export" -d 'Print the signed catalogue, to be carried to hospitals (egress.catalogue in their configuration)'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from model" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from advisory" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from advisory" -f -a "issue" -d 'Issue a recall or an advisory: it goes out with the reply to every frame from now on, and cannot be taken back'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from advisory" -f -a "list" -d 'List what was issued'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from advisory" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from alarm" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from alarm" -f -a "list" -d 'List what was refused and is not closed'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from alarm" -f -a "close" -d 'Close alarms that somebody has looked into; one opens again when the same is refused once more'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from alarm" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from evaluation" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from evaluation" -f -a "publish" -d 'Publish a signed plan: it goes out with replies, and a hospital carries it out once its officer accepts'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from evaluation" -f -a "list" -d 'List the plans'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from evaluation" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from token" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from token" -f -a "issue" -d 'Issue a token; its secret is printed once and kept only as a hash'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from token" -f -a "list" -d 'List the tokens, without their secrets'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from token" -f -a "revoke" -d 'Revoke a token at once'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from token" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from take" -l config -d 'The hub\'s configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from take" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from audit" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from audit" -f -a "show" -d 'Print the hub\'s audit log as JSON lines: who changed what, and when'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from audit" -f -a "verify" -d 'Recompute the hub\'s audit log: finds any line that was changed, removed or added'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from audit" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from backup" -l config -d 'The hub\'s configuration file' -r -F
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from backup" -s h -l help -d 'Print help'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "serve" -d 'Run the hub: takes hospitals\' frames, shows the dashboard at its door'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "check" -d 'Validate the configuration; a wrong key is named with its line'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "key" -d 'Print the hub\'s key, to be read out to hospitals by telephone'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "enrol" -d 'Enrol an appliance from the request of `pericard egress enrol-request`; prints what is carried back'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "hospitals" -d 'List the enrolled appliances'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "suspend" -d 'Refuse an appliance\'s frames for the time being'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "resume" -d 'Take a suspended appliance\'s frames again'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "model" -d 'The catalogue of models: which number stands for which manifest'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "advisory" -d 'Recalls and advisories, signed and sent with every reply'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "alarm" -d 'Alarms: what was refused and should be looked into, until it is closed'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "evaluation" -d 'Federated evaluation: signed plans, which hospitals may carry out on cases of their own'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "token" -d 'Who may look at the dashboard and use the read API'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "take" -d 'Take frames that were carried here as files; writes the reply to each beside it, to be carried back'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "audit" -d 'The hub\'s own audit log'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "backup" -d 'Write database and keys into a new folder, while the hub serves; put back, the folder is a data directory'
complete -c pericard -n "__fish_pericard_using_subcommand hub; and __fish_seen_subcommand_from help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "serve" -d 'Run the appliance'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "demo" -d 'Show the whole product on loopback: real samples, real models, results, one chat'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "check" -d 'Validate the configuration; a wrong key is named with its line. With --study: which rules a study would meet'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "doctor" -d 'Compare this machine with what it should be: each line ok, warn or fail, why, and what to do'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "submit" -d 'Send DICOM files or folders to a running appliance'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "jobs" -d 'The queue: what waits, what runs, what failed and why'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "model" -d 'Model packages: what is imported, what is live'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "audit" -d 'The audit log: show, verify, export'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "egress" -d 'What leaves the hospital, before it leaves: shown, held back, sent to the enrolled hub'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "backup" -d 'Make a backup while the appliance serves, or read one through'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "restore" -d 'Turn a backup into a data directory again, in an empty place'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "erase" -d 'Erase a study on purpose: objects, results, jobs, and on request what the audit log says of it'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "deidentify" -d 'Clean a folder of images for research: names, numbers, dates and text in the pixels go; what cannot be cleaned stays'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "token" -d 'Bearer tokens for the HTTPS API'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "worker" -d 'Started by the appliance, never by hand: parses strangers\' bytes, or runs one model, behind walls'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "reload" -d 'Run by `systemctl reload`, never by hand: has the service read its configuration again, and tells what became of it'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "cert" -d 'The HTTPS door\'s certificate: made here, or signed by the hospital\'s authority'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "hub" -d 'The national side, which no hospital runs: takes frames, warns of models, shows how they do'
complete -c pericard -n "__fish_pericard_using_subcommand help; and not __fish_seen_subcommand_from serve demo check doctor submit jobs model audit egress backup restore erase deidentify token worker reload cert hub help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from jobs" -f -a "list" -d 'List jobs, latest first'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from jobs" -f -a "show" -d 'Show one job: its work, its state, why it failed'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from jobs" -f -a "expected" -d 'List what worklists and order messages say will come, latest said first'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from jobs" -f -a "retry" -d 'Put a failed or cancelled job back into the queue'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from jobs" -f -a "cancel" -d 'Cancel a waiting job'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "import" -d 'Import a package: a directory, or a tar of one'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "list" -d 'List the imported packages'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "show" -d 'Show what a package says of itself'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "verify" -d 'Check every byte of a package against its manifest'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "activate" -d 'Make a version the one that rules mean by its name; taken up when the appliance starts'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from model" -f -a "retire" -d 'Take a version out of use for good; taken up when the appliance starts'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "show" -d 'Show lines, oldest first'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "verify" -d 'Recompute the whole log against its signed checkpoint: finds any flipped byte, dropped line or truncation'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from audit" -f -a "export" -d 'Write the log as C2SP tlog-tiles, to be verified without this program, as /usr/share/pericard/audit/verify.py does'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from egress" -f -a "preview" -d 'Show every number that would be sent: counted since the start, or a week\'s frame'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from egress" -f -a "ledger" -d 'Show every week that became a frame, what it cost of the privacy budget, and where it stands with the hub'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from egress" -f -a "plans" -d 'List the evaluation plans that the hub has sent, and where each stands'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from egress" -f -a "accept-plan" -d 'Accept an evaluation plan: the live model is scored on labelled studies that are held here, and the week\'s frame tells of it with noise'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from egress" -f -a "enrol-request" -d 'Make the gate\'s keys and print the request that is carried to the hub'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from egress" -f -a "enrol" -d 'Install what the hub gave back, after checking that the hub\'s key signed it and that it answers our request'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from egress" -f -a "run" -d 'Send to the hub, one frame in each slot; without an enrolled hub it ends at once and opens no socket'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from egress" -f -a "hold" -d 'Hold frames back: one, or all, those to come too. Those behind a frame that is held wait for it'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from egress" -f -a "release" -d 'Take a hold away: that of one frame, or that of all'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from egress" -f -a "carry" -d 'Write every signed frame that may go into a folder, to be carried to the hub by hand'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from egress" -f -a "take" -d 'Take the hub\'s replies that were carried back, after checking their signatures'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "issue" -d 'Issue a token; its secret is printed once and kept only as a hash'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "list" -d 'List the tokens, without their secrets'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from token" -f -a "revoke" -d 'Revoke a token at once'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from cert" -f -a "init" -d 'Make the certificate that the first start would make, and show its fingerprint and what clients must trust'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from cert" -f -a "request" -d 'Make a key, and print the request that the hospital\'s authority signs'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from cert" -f -a "install" -d 'Install what the authority gave back, after checking that it fits the key, the chain, the names and the time'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "serve" -d 'Run the hub: takes hospitals\' frames, shows the dashboard at its door'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "check" -d 'Validate the configuration; a wrong key is named with its line'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "key" -d 'Print the hub\'s key, to be read out to hospitals by telephone'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "enrol" -d 'Enrol an appliance from the request of `pericard egress enrol-request`; prints what is carried back'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "hospitals" -d 'List the enrolled appliances'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "suspend" -d 'Refuse an appliance\'s frames for the time being'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "resume" -d 'Take a suspended appliance\'s frames again'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "model" -d 'The catalogue of models: which number stands for which manifest'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "advisory" -d 'Recalls and advisories, signed and sent with every reply'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "alarm" -d 'Alarms: what was refused and should be looked into, until it is closed'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "evaluation" -d 'Federated evaluation: signed plans, which hospitals may carry out on cases of their own'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "token" -d 'Who may look at the dashboard and use the read API'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "take" -d 'Take frames that were carried here as files; writes the reply to each beside it, to be carried back'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "audit" -d 'The hub\'s own audit log'
complete -c pericard -n "__fish_pericard_using_subcommand help; and __fish_seen_subcommand_from hub" -f -a "backup" -d 'Write database and keys into a new folder, while the hub serves; put back, the folder is a data directory'
