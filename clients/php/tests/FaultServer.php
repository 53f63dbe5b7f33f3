<?php

declare(strict_types=1);

namespace Relay\Tests;

/**
 * A server with a fault (fault_server.php), in a process of its own.
 */
final class FaultServer
{
    public readonly int $port;
    public readonly Process $process;

    public function __construct(string $fault, ?string $certificate = null)
    {
        $command = [PHP_BINARY, __DIR__ . '/fault_server.php', $fault];
        $this->process = new Process($certificate === null ? $command : [...$command, $certificate]);
        $this->port = (int) $this->process->line();
    }

    public function url(string $scheme = 'tcp'): string
    {
        return "$scheme://127.0.0.1:$this->port";
    }
}
