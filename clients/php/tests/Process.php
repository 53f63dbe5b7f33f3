<?php

declare(strict_types=1);

namespace Relay\Tests;

/**
 * A child process, of which what it says is read line by line under a deadline, and which does not
 * outlive its owner.
 */
final class Process
{
    /** Seconds; generous, for it is reached only when a test fails. */
    public const DEADLINE = 20.0;

    /** @var resource */
    private $process;
    /** @var array<int, resource> */
    private array $pipes = [];
    private string $output = '';
    private ?int $exitCode = null;

    /**
     * @param list<string> $command
     * @param array<string, string> $environment what to add to this process's own
     */
    public function __construct(array $command, array $environment = [])
    {
        $log = getenv('RELAY_TEST_LOG') ?: '/dev/null';
        // A relay takes these for keys of its config.
        $isOurs = static fn (string $name): bool => !str_starts_with($name, 'RELAY_');
        $own = array_filter(getenv(), $isOurs, ARRAY_FILTER_USE_KEY);
        $process = proc_open(
            $command,
            [['pipe', 'r'], ['pipe', 'w'], ['file', $log, 'a']],
            $this->pipes,
            null,
            $environment + $own,
        );
        if (!is_resource($process)) {
            throw new \RuntimeException('cannot start ' . implode(' ', $command));
        }
        $this->process = $process;
        stream_set_blocking($this->pipes[1], false);
    }

    public function say(string $line): void
    {
        fwrite($this->pipes[0], $line . "\n");
    }

    public function line(): string
    {
        $end = hrtime(true) + (int) (self::DEADLINE * 1e9);
        while (($at = strpos($this->output, "\n")) === false) {
            $read = [$this->pipes[1]];
            $none = null;
            stream_select($read, $none, $none, 0, 200_000);
            $bytes = (string) fread($this->pipes[1], 65_536);
            $this->output .= $bytes;
            if (($bytes === '' && feof($this->pipes[1])) || hrtime(true) > $end) {
                throw new \RuntimeException("no line came, only: \"$this->output\"");
            }
        }
        $line = substr($this->output, 0, $at);
        $this->output = substr($this->output, $at + 1);
        return $line;
    }

    /**
     * All it says up to its end, and its exit code.
     *
     * @return array{string, int}
     */
    public function finish(): array
    {
        fclose($this->pipes[0]);
        stream_set_blocking($this->pipes[1], true);
        $output = $this->output . stream_get_contents($this->pipes[1]);
        return [$output, $this->wait()];
    }

    /**
     * Ends it, with SIGKILL if not told otherwise.
     */
    public function kill(int $signal = 9): void
    {
        $this->signal($signal);
        $this->wait();
    }

    public function signal(int $signal): void
    {
        proc_terminate($this->process, $signal);
    }

    public function __destruct()
    {
        if ($this->exitCode === null) {
            $this->kill();
        }
    }

    private function wait(): int
    {
        if ($this->exitCode === null) {
            $this->exitCode = proc_close($this->process);
        }
        return $this->exitCode;
    }
}
