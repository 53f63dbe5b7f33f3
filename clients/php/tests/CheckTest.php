<?php

declare(strict_types=1);

namespace Relay\Tests;

use PHPUnit\Framework\TestCase;

/**
 * bin/relay-check, as a person runs it.
 */
final class CheckTest extends TestCase
{
    private static ?Relay $relay = null;

    public static function setUpBeforeClass(): void
    {
        self::$relay = new Relay();
    }

    public static function tearDownAfterClass(): void
    {
        self::$relay = null;
    }

    /**
     * @return array{string, int}
     */
    private static function check(string ...$arguments): array
    {
        return (new Process([PHP_BINARY, dirname(__DIR__) . '/bin/relay-check', ...$arguments]))->finish();
    }

    private static function relay(): Relay
    {
        return self::$relay ?? throw new \LogicException('no relay');
    }

    public function testAWayThatIsFree(): void
    {
        $page = new Page(self::relay());
        foreach (['tcp', 'ssl', 'ws', 'wss'] as $scheme) {
            [$output, $code] = self::check(
                self::relay()->url($scheme),
                '--cafile=' . self::relay()->cafile(),
                '--ident',
                "check-$scheme",
                '--uuid',
                $page->uuid,
            );
            self::assertSame(0, $code, $output);
            self::assertStringContainsString("\"check-$scheme\" is reached", $output);
            self::assertStringContainsString('byte for byte', $output);
            self::assertStringEndsWith("All is well.\n", $output);
            self::assertSame('relay-check was here', $page->hears()['text']);
        }
    }

    public function testACertificateThatIsNotTrusted(): void
    {
        [$output, $code] = self::check(self::relay()->url('wss'));
        self::assertSame(77, $code, $output);
        self::assertStringContainsString('it is signed by itself: --cafile', $output);
        self::assertStringContainsString('for localhost, 127.0.0.1', $output);

        $url = str_replace('localhost', '127.0.0.1', self::relay()->url('wss'));
        [$output, $code] = self::check($url, '--insecure');
        self::assertSame(0, $code, $output);
        self::assertStringContainsString('it was not checked', $output);
    }

    public function testNoTlsThere(): void
    {
        $server = new FaultServer('no relay');
        [$output, $code] = self::check($server->url('ssl'));
        self::assertSame(69, $code, $output);
        self::assertStringContainsString('FAIL  tls', $output);
    }

    public function testNobodyThere(): void
    {
        $relay = new Relay();
        $relay->kill();
        [$output, $code] = self::check($relay->url('tcp'));
        self::assertSame(69, $code, $output);
        self::assertStringContainsString('is the relay running', $output);

        [$output, $code] = self::check('tcp://nobody.invalid:1');
        self::assertSame(69, $code, $output);
        self::assertStringContainsString('the spelling of the name', $output);

        $server = new FaultServer('says nothing');
        [$output, $code] = self::check($server->url(), '--timeout', '0.3');
        self::assertSame(69, $code, $output);
        self::assertStringContainsString('no answer in time', $output);
    }

    public function testSomethingElseThere(): void
    {
        $faults = ['no relay' => 'ws', 'no ready' => 'tcp', 'http 404' => 'ws', 'refuses' => 'tcp'];
        foreach ($faults as $fault => $scheme) {
            $server = new FaultServer($fault);
            [$output, $code] = self::check($server->url($scheme));
            self::assertSame(76, $code, $output);
            self::assertStringContainsString('FAIL  handshake', $output);
            self::assertStringContainsString('->', $output);
        }
    }

    public function testANameThatIsTaken(): void
    {
        $server = new FaultServer('the name is taken');
        [$output, $code] = self::check($server->url(), '--ident', 'billing');
        self::assertSame(77, $code, $output);
        self::assertStringContainsString('FAIL  ident', $output);
        self::assertStringContainsString('another name', $output);
    }

    public function testUsage(): void
    {
        $wrong = [
            [],
            ['http://localhost'],
            ['tcp://a:1', 'tcp://b:1'],
            ['--nothing', 'tcp://a:1'],
            ['tcp://a:1', '--ident'],
            ['tcp://a:1', '--timeout', 'x'],
            ['tcp://a:1', '--cafile', '/nowhere'],
            ['tcp://a:1', '--header', 'x'],
        ];
        foreach ($wrong as $arguments) {
            self::assertSame(['', 64], self::check(...$arguments));
        }
        [$output, $code] = self::check('--help');
        self::assertSame(0, $code);
        self::assertStringStartsWith('Usage: relay-check', $output);
    }
}
